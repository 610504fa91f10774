import threading
from dataclasses import asdict

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, Table, inspect

from deployments.migrations import HERE, upgrade
from models.ledger.accounts import maybe_paid
from models.ledger.budgets import open_budget, remaining
from models.ledger.calls import CallSpec, Settlement, claim, settle
from models.ledger.epochs import open_epoch, put_questions
from models.ledger.labels import Attempt, labels
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


def test_what_an_older_home_claimed_may_have_been_sent(url):
    """Until 0003 a claim did not say whether its call had left."""
    upgrade(url)
    ledger = Ledger(url)
    open_budget(ledger, "b", 1.0)
    for identity in ("died", "settled"):
        claim(ledger, [CallSpec(identity, "s", "w", "1", {}, 0.25)], "old", lease_s=0, budget="b")
    settle(ledger, [Settlement("settled", 1, "old", {"text": "yes"}, 0.125, 0.1)])
    config = Config()
    config.set_main_option("script_location", str(HERE))
    with ledger.transaction() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
    upgrade(url)
    assert [row["call_id"] for row in maybe_paid(ledger)] == ["died"]
    assert remaining(ledger, "b") == {"limit": 1.0, "reserved": 0.25, "spent": 0.125, "left": 0.625}
    specs = [CallSpec(identity, "s", "w", "1", {}, 0.25) for identity in ("died", "settled")]
    found = claim(ledger, specs, "new", resend=False)
    assert [one.state for one in found] == ["maybe_paid", "settled"]
    ledger.close()


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
