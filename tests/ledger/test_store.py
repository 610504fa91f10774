import subprocess
import sys
import threading

import pytest
from sqlalchemy import select, update

from models.errors import BadInput
from models.ledger.budgets import open_budget
from models.ledger.store import Ledger
from models.ledger.tables import budgets


@pytest.mark.parametrize("url", ["sqlite:///ledger.db", "sqlite://", "sqlite:///:memory:", "mysql://a/b", "nonsense"])
def test_an_unusable_url_is_one_clear_error(url):
    with pytest.raises(BadInput) as caught:
        Ledger(url)
    assert caught.value.field == "url"


@pytest.mark.sqlite("its file and its journal")
def test_a_sqlite_ledger_makes_its_folder_and_uses_wal(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path}/a/b/ledger.db")
    with ledger.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000
    ledger.close()


OPEN_AND_CLOSE = """
import sys
from models.ledger.budgets import open_budget
from models.ledger.store import Ledger
ledger = Ledger(sys.argv[1])
open_budget(ledger, "theirs", 1.0)
ledger.close()
"""


@pytest.mark.sqlite("its journal's file")
def test_a_journal_in_use_survives_a_second_handle_here_and_the_end_of_another_process(tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    ours = Ledger(url)
    ours.create_schema()
    open_budget(ours, "ours", 1.0)
    journal = (tmp_path / "ledger.db-wal").stat().st_ino
    Ledger(url).close()  # if it opened the file by itself, all locks of this process on it would be lost
    subprocess.run([sys.executable, "-c", OPEN_AND_CLOSE, url], check=True)
    assert (tmp_path / "ledger.db-wal").stat().st_ino == journal
    open_budget(ours, "later", 1.0)
    with Ledger(url).reading() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
        assert set(connection.execute(select(budgets.c.name)).scalars()) == {"ours", "theirs", "later"}
    ours.close()


def test_concurrent_read_modify_write_transactions_lose_no_update(ledger):
    open_budget(ledger, "b", 1.0)

    def add():
        for _ in range(20):
            with ledger.transaction() as connection:
                ledger.serialise(connection, "b")
                seen = connection.execute(select(budgets.c.max_usd)).scalar_one()
                connection.execute(update(budgets).values(max_usd=seen + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ledger.reading() as connection:
        assert connection.execute(select(budgets.c.max_usd)).scalar_one() == 81


def test_an_error_in_a_transaction_leaves_nothing(ledger):
    with pytest.raises(ZeroDivisionError), ledger.transaction() as connection:
        row = {"name": "b", "max_usd": 1.0, "reserved_usd": 0.0, "spent_usd": 0.0}
        connection.execute(budgets.insert().values(row))
        raise ZeroDivisionError
    with ledger.reading() as connection:
        assert connection.execute(select(budgets)).all() == []
