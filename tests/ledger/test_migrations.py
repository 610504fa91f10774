import threading
from dataclasses import asdict

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, Table, inspect

from deployments.migrations import upgrade
from models.ledger.epochs import open_epoch
from models.ledger.labels import Attempt, labels
from models.ledger.questions import put_questions
from models.ledger.store import Ledger
from models.ledger.tables import attempts, metadata


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


def test_a_home_made_before_question_ids_were_of_a_source_keeps_its_labels(url):
    upgrade(url, "0002")
    ledger = Ledger(url)
    question = {"id": "q0", "digest": "d", "task": "t", "split": "train", "tags": [], "body": {}}
    with ledger.transaction() as connection:
        before = Table("questions", MetaData(), autoload_with=connection)
        connection.execute(before.insert(), question)
    epoch = open_epoch(ledger, "p", "set")
    with ledger.transaction() as connection:
        given = asdict(Attempt(epoch, "q0", "w", "1", 0, "exact", "1", 0.5, question_digest="d"))
        connection.execute(attempts.insert(), given | {"created_at": ledger.now(connection)})
    upgrade(url)
    assert labels(ledger, pool="p")["score"].tolist() == [0.5]
    put_questions(ledger, "other", [question | {"digest": "changed"}])
    put_questions(ledger, "mine", [question])
    assert labels(ledger, pool="p", questions={"q0": "d"})["score"].tolist() == [0.5]
    ledger.close()
