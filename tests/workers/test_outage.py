"""The ledger's database goes away under the dispatcher: nothing new is sent, nothing in hand is lost."""

import asyncio
import errno
import os
import sqlite3
import stat
from contextlib import suppress

import pytest
from sqlalchemy import event, select, update

from models.errors import BudgetExceeded, LedgerAway, UpstreamRefused
from models.ledger.accounts import maybe_paid, spend
from models.ledger.budgets import open_budget, remaining
from models.ledger.calls import CallSpec, Settlement, claim, settle
from models.ledger.outage import apart, is_away, when_back
from models.ledger.tables import calls, tries
from models.ledger.tries import renew, send
from models.ledger.unsettled import Unsettled, recover
from models.workers.ask import Ask, Reply
from models.workers.client import Chunk


@pytest.fixture
def away(ledger):
    """A list of one word: what every statement fails with."""
    reason = [""]

    @event.listens_for(ledger.engine, "before_cursor_execute")
    def fail(*_):
        if reason[0]:
            raise sqlite3.OperationalError(reason[0])

    return reason


class Held:
    """A client that has its replies ready when it is told."""

    def __init__(self, error=None):
        self.sent, self.gate, self.error = [], asyncio.Event(), error

    async def complete(self, ask):
        self.sent.append(ask)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Reply(worker=ask.worker, revision="1", text=ask.messages[-1]["content"].upper(), cost_usd=0.25)

    async def stream(self, ask):
        reply = await self.complete(ask)
        yield Chunk(reply.text)
        yield Chunk(reply=reply)


def ask(text="hi"):
    return Ask(scope="s", worker="live", revision="1", messages=({"role": "user", "content": text},))


def kept(ledger):
    return sorted(ledger.unsettled.glob("*.jsonl")) if ledger.unsettled.exists() else []


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)  # any condition is waited for, that of a file too


def die(dispatcher):
    """As SIGKILL would: nothing is written any more, and its files are let go of."""
    dispatcher._commit._pump.cancel()
    os.close(dispatcher._commit._unsettled._file)
    dispatcher._commit._unsettled._file = None


@pytest.mark.parametrize("reason", ["disk I/O error", "database or disk is full", "unable to open database file"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_reply_in_hand_is_answered_at_once_kept_on_disk_and_settled_when_the_database_is_back(
    dispatcher, ledger, away, reason, streamed
):
    client = Held()
    one = dispatcher(client)

    async def answered(n):
        if not streamed:
            return (await one.ask(ask(f"a{n}"))).text
        return "".join([chunk.text async for chunk in one.stream(ask(f"a{n}"))])

    tasks = [asyncio.create_task(answered(n)) for n in range(5)]
    await until(lambda: len(client.sent) == 5)
    away[0] = reason
    client.gate.set()
    assert [await task for task in tasks] == [f"A{n}" for n in range(5)]
    [file] = kept(ledger)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.read_bytes().count(b"\n") == 5
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    away[0] = ""
    await until(lambda: spend(ledger)["settled"] == 5 and not file.read_bytes())
    assert spend(ledger)["usd"] == 1.25 and maybe_paid(ledger) == []
    assert (await dispatcher(Held()).ask(ask("a0"))).text == "A0"


async def test_nothing_is_sent_while_the_database_is_away_and_its_money_is_free_after(dispatcher, ledger, away):
    open_budget(ledger, "b", 1.0)
    client = Held()
    client.gate.set()
    one = dispatcher(client, budget="b")
    away[0] = "disk I/O error"
    with pytest.raises(LedgerAway) as caught:
        await one.ask(ask())
    assert caught.value.retry_after == 1.0 and client.sent == []
    away[0] = ""
    assert (await one.ask(ask())).text == "HI"
    assert remaining(ledger, "b") == {"limit": 1.0, "reserved": 0.0, "spent": 0.25, "left": 0.75}


async def test_what_waits_for_its_turn_when_the_database_goes_is_not_sent_and_given_back(dispatcher, ledger, away):
    open_budget(ledger, "b", 1.0)
    client = Held()
    one = dispatcher(client, budget="b")
    tasks = [asyncio.create_task(one.ask(ask(str(n)))) for n in range(9)]  # eight are sent at once
    await until(lambda: len(client.sent) == 8)
    away[0] = "disk I/O error"
    client.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[8], LedgerAway) and [reply.text for reply in results[:8]] == list("01234567")
    away[0] = ""
    await until(lambda: spend(ledger)["settled"] == 8 and remaining(ledger, "b")["reserved"] == 0.0)
    assert len(client.sent) == 8 and maybe_paid(ledger) == []


async def test_a_failure_is_told_at_once_and_written_when_the_database_is_back(dispatcher, ledger, away):
    client = Held(UpstreamRefused("no", 400))
    task = asyncio.create_task(dispatcher(client).ask(ask()))
    await until(lambda: client.sent)
    away[0] = "disk I/O error"
    client.gate.set()
    with pytest.raises(UpstreamRefused):
        await task
    away[0] = ""
    await until(lambda: states(ledger) == {"failed"})


async def test_what_a_killed_process_had_in_hand_is_settled_by_the_next_one_and_not_asked_again(
    dispatcher, ledger, away
):
    client = Held()
    client.gate.set()
    first = dispatcher(client)
    await first.ask(ask("before"))
    client.gate.clear()
    task = asyncio.create_task(first.ask(ask()))
    await until(lambda: len(client.sent) == 2)
    away[0] = "disk I/O error"
    client.gate.set()
    assert (await task).text == "HI"
    die(first)
    with kept(ledger)[0].open("ab") as file:
        file.write(b'{"call_id": "cut o')
    away[0] = ""
    other = Held()
    assert (await dispatcher(other).ask(ask())).text == "HI" and other.sent == []
    assert kept(ledger) == [] and spend(ledger)["usd"] == 0.5 and maybe_paid(ledger) == []


async def test_a_late_reply_of_a_call_that_somebody_else_took_over_is_dropped_and_its_price_booked(
    dispatcher, ledger, away
):
    client = Held()
    first = dispatcher(client)
    task = asyncio.create_task(first.ask(ask()))
    await until(lambda: client.sent)
    away[0] = "disk I/O error"
    client.gate.set()
    await task
    die(first)
    away[0] = ""
    with ledger.transaction() as connection:
        connection.execute(update(calls).values(lease_until=ledger.now(connection)))
    [mine] = claim(ledger, [CallSpec(ask().identity, "s", "live", "1", {})], "other")
    assert settle(ledger, [Settlement(mine.call_id, mine.attempt, "other", {"text": "kept"}, 0.5, 0.1)]) == [True]
    assert recover(ledger) == 0 and kept(ledger) == []
    assert spend(ledger)["usd"] == 0.75
    with ledger.reading() as connection:
        assert connection.execute(select(calls.c.reply)).scalar_one() == {"text": "kept"}


def test_a_living_processs_replies_are_left_to_it(ledger):
    mine = Unsettled(ledger.unsettled)
    claim(ledger, [CallSpec("i", "s", "w", "1", {})], "me")
    send(ledger, [("i", 1)], "me")
    assert mine.keep(Settlement("i", 1, "me", {"text": "a\0\ud83d"}, 0.25, 0.1))
    assert recover(ledger) == 0 and len(kept(ledger)) == 1
    mine.close()
    assert recover(ledger) == 1 and kept(ledger) == [] and spend(ledger)["usd"] == 0.25


async def test_on_a_full_disk_the_reply_waits_in_memory(dispatcher, ledger, away, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("models.ledger.unsettled.os.pwrite", full)
    client = Held()
    task = asyncio.create_task(dispatcher(client).ask(ask()))
    await until(lambda: client.sent)
    away[0] = "database or disk is full"
    client.gate.set()
    assert (await task).text == "HI"
    away[0] = ""
    await until(lambda: spend(ledger)["settled"] == 1)


async def test_leases_are_renewed_after_an_outage(dispatcher, ledger, away, monkeypatch):
    def lease():
        with ledger.reading() as connection:
            return connection.execute(select(calls.c.lease_until)).scalar_one()

    client, failed = Held(), []
    task = asyncio.create_task(dispatcher(client, lease_s=0.06).ask(ask()))
    await until(lambda: client.sent)
    monkeypatch.setattr("models.workers.writes.renew", lambda *given: (failed.append(1), renew(*given))[1])
    away[0] = "disk I/O error"
    failed.clear()
    await until(lambda: len(failed) > 1)
    away[0] = ""
    for _ in range(2):
        seen = lease()
        await until(lambda seen=seen: lease() > seen)
    client.gate.set()
    assert (await task).text == "HI"


async def test_one_reply_that_cannot_be_kept_harms_no_other(dispatcher, ledger, monkeypatch):
    def picky(ledger, settlements):
        if any(s.reply["text"] == "BAD" for s in settlements):
            raise OverflowError("too large")
        return settle(ledger, settlements)

    monkeypatch.setattr("models.workers.writes.settle", picky)
    client = Held()
    client.gate.set()
    words = ["a", "b", "bad", "c", "d"]
    replies = await dispatcher(client).ask_all([ask(word) for word in words])
    assert [reply.text for reply in replies] == ["A", "B", "BAD", "C", "D"]
    await until(lambda: states(ledger) == {"settled", "maybe_paid"})
    assert spend(ledger)["settled"] == 4 and "too large" in maybe_paid(ledger)[0]["error"]


def test_a_batch_is_split_until_the_bad_row_is_alone_and_not_at_all_while_the_database_is_away():
    seen = []

    def write(items):
        seen.append(list(items))
        if 3 in items:
            raise ValueError("bad")
        return [10 * item for item in items]

    zero, *results = apart(write, list(range(5)))
    assert zero == 0 and results[:2] == [10, 20] and isinstance(results[2], ValueError) and results[3] == 40

    def gone(items):
        seen.append(list(items))
        raise LedgerAway("away")

    seen.clear()
    assert [type(result) for result in apart(gone, [1, 2, 3])] == [LedgerAway] * 3 and len(seen) == 1


def test_a_statement_that_is_wrong_is_not_a_database_that_is_away(ledger):
    for statement in ("SELECT * FROM nothing", "SELEKT", "INSERT INTO budgets VALUES ('b', 1, 1)"):
        with pytest.raises(Exception) as caught, ledger.transaction() as connection:
            connection.exec_driver_sql(statement)
        assert not isinstance(caught.value, LedgerAway) and not is_away(caught.value)
    assert not is_away(OverflowError("Python int too large to convert to SQLite INTEGER"))


async def test_work_that_has_begun_waits_for_the_ledger_and_gives_up_in_the_end():
    times = []

    async def attempt():
        times.append(1)
        if len(times) < 3:
            raise LedgerAway("away")
        return "done"

    assert await when_back(attempt) == "done" and len(times) == 3
    times.clear()
    with pytest.raises(LedgerAway):
        await when_back(attempt, patience_s=0.0)


async def test_a_budget_is_freed_of_what_the_dead_claimed_and_never_sent(dispatcher, ledger):
    open_budget(ledger, "b", 0.001)
    claim(ledger, [CallSpec("dead", "s", "live", "1", {}, 0.001)], "dead", lease_s=0, budget="b")
    client = Held()
    client.gate.set()
    assert (await dispatcher(client, budget="b").ask(ask())).text == "HI"
    with suppress(BudgetExceeded):
        await dispatcher(client, budget="b").ask(ask("more"))
    assert remaining(ledger, "b") == {"limit": 0.001, "reserved": 0.0, "spent": 0.001, "left": 0.0}


def states(ledger):
    with ledger.reading() as connection:
        return set(connection.execute(select(tries.c.status)).scalars())
