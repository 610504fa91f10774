import threading

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from deployments.migrations import upgrade
from models.ledger.store import Ledger
from models.ledger.tables import metadata


def test_the_head_equals_the_tables(url):
    upgrade(url)
    ledger = Ledger(url)
    with ledger.reading() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
        assert set(metadata.tables) < set(inspect(connection).get_table_names())
    ledger.close()


def test_processes_that_start_together_upgrade_once(url):
    errors = []

    def start():
        try:
            upgrade(url)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
