"""Breakers: opened by failures, shared by processes, closed by a probe; several keys take turns."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from models.errors import RateLimited, UpstreamRefused, UpstreamUnavailable, WorkerOpen
from models.ledger.providers.breakers import close_breaker, open_breaker, open_breakers
from models.ledger.tables import breakers
from models.workers import breakers as breaking
from models.workers.ask import Ask
from models.workers.breakers import BreakerPolicy, Breakers
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool, Worker
from models.workers.retry import RetryPolicy

ONCE = RetryPolicy(tries=1, open_s=0.0, patience_s=0.0)


def ask(text, worker="live"):
    return Ask(scope="s", worker=worker, revision="1", messages=({"role": "user", "content": text},))


async def fails(dispatcher, count, error=UpstreamUnavailable):
    for number in range(count):
        with pytest.raises(error):
            await dispatcher.ask(ask(f"{error.__name__} {number}"))


async def written(dispatcher, ledger, count):
    await dispatcher.breakers.close()  # what is being written
    found = open_breakers(ledger)
    assert len(found) == count
    return found


async def test_five_failures_in_a_row_open_it_for_all_processes_and_a_probe_closes_it(dispatcher, upstream, ledger):
    one, other = dispatcher(retry=ONCE), dispatcher(retry=ONCE)
    upstream.script = ["500"] * 5
    await fails(one, 5)
    [row] = await written(one, ledger, 1)
    assert (row.worker, row.key, row.opens) == ("live", "UPSTREAM_KEY", 1) and row.until > datetime.now(UTC)
    for dispatched in (one, other):
        with pytest.raises(WorkerOpen, match=": UpstreamUnavailable") as caught:
            await dispatched.ask(ask("refused here"))
        assert 0 < caught.value.retry_after <= 5
        assert list(await dispatched.open_workers()) == ["live"]
    assert len(upstream.seen) == 5
    with ledger.transaction() as connection:
        connection.execute(update(breakers).values(until=datetime.now(UTC) - timedelta(seconds=1)))
    fresh = dispatcher(retry=ONCE)  # another process, which reads it now
    assert (await fresh.ask(ask("probe"))).text == "hello"
    await written(fresh, ledger, 0)


async def refused(breakers, worker):
    """A call that says what nobody but the owner of the key can mend."""
    with pytest.raises(UpstreamRefused):
        async with breakers.asking(worker):
            raise UpstreamRefused("no such key", status=401, answered=True)


async def test_a_breaker_stays_open_while_its_row_is_being_written(ledger, pool, monkeypatch):
    breakers, worker, write = Breakers(ledger), pool.worker("live"), threading.Event()
    monkeypatch.setattr(breaking, "open_breaker", lambda *given: write.wait(20) and open_breaker(*given))
    await refused(breakers, worker)
    await breakers.refresh()
    assert breakers.state(worker) is not None and not open_breakers(ledger)
    write.set()
    await breakers.close()
    assert len(open_breakers(ledger)) == 1


async def test_a_breaker_that_opens_while_all_are_read_stays_open(ledger, pool, monkeypatch):
    breakers, worker = Breakers(ledger), pool.worker("live")
    read, opened = threading.Event(), threading.Event()

    def slow(ledger):
        found = open_breakers(ledger)
        read.set()
        assert opened.wait(20)
        return found

    monkeypatch.setattr(breaking, "open_breakers", slow)
    refresh = asyncio.create_task(breakers.refresh())
    assert await asyncio.to_thread(read.wait, 20)
    await refused(breakers, worker)
    await breakers.close()  # its row is written
    opened.set()
    await refresh
    assert breakers.state(worker) is not None


async def test_of_many_that_meet_a_breaker_whose_time_has_passed_one_is_the_probe(dispatcher, upstream, ledger):
    one = dispatcher(retry=ONCE)
    upstream.script = ["500"] * 5
    await fails(one, 5)
    await written(one, ledger, 1)
    with ledger.transaction() as connection:
        connection.execute(update(breakers).values(until=datetime.now(UTC) - timedelta(seconds=1)))
    upstream.script = ["hang"]
    at_once = [asyncio.create_task(dispatcher(retry=ONCE).ask(ask(f"{n}"))) for n in range(3)]
    waiting = set(at_once)
    while len(waiting) > 1:
        _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(WorkerOpen) as later:  # it reads that the probe is under way, and does not wait for it
        await dispatcher(retry=ONCE).ask(ask("later"))
    assert later.value.retry_after <= 1
    for task in waiting:
        task.cancel()
    results = await asyncio.gather(*at_once, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["CancelledError", "WorkerOpen", "WorkerOpen"]
    assert len(upstream.seen) == 6


async def test_those_that_may_wait_for_it_wait_for_what_comes_of_the_probe(dispatcher, upstream, ledger):
    patient = dispatcher(retry=RetryPolicy(tries=1, open_s=30.0, poll_cap_s=0.05))
    upstream.script = ["429 retry-after-ms: 50"]
    await fails(patient, 1, RateLimited)
    upstream.script = ["gate"]
    upstream.arrived.clear()
    asks = [asyncio.create_task(patient.ask(ask(f"{n}"))) for n in range(4)]
    await asyncio.wait_for(upstream.arrived.wait(), 20)
    await asyncio.wait(asks, timeout=0.3)
    assert not any(task.done() for task in asks) and len(upstream.seen) == 2  # the probe alone is sent
    upstream.gate.set()
    assert {reply.text for reply in await asyncio.gather(*asks)} == {"hello"}


@pytest.mark.parametrize("status", ["401", "402", "403"])
async def test_a_refused_key_opens_it_at_once_until_somebody_acts(dispatcher, upstream, ledger, status):
    one = dispatcher(retry=ONCE)
    upstream.script = [status]
    await fails(one, 1, UpstreamRefused)
    [row] = await written(one, ledger, 1)
    assert row.until is None
    with pytest.raises(WorkerOpen, match="pool check") as caught:
        await one.ask(ask("again"))
    assert caught.value.retry_after is None
    close_breaker(ledger, "live")
    assert (await dispatcher(retry=ONCE).ask(ask("after that"))).text == "hello"


async def test_a_429_with_a_time_keeps_everybody_away_until_then_and_no_longer_than_a_bound(
    dispatcher, upstream, ledger
):
    one = dispatcher(retry=ONCE)
    upstream.script = ["429 retry-after: 86400"]
    await fails(one, 1, RateLimited)
    [row] = await written(one, ledger, 1)
    assert timedelta(seconds=250) < row.until - datetime.now(UTC) <= timedelta(seconds=300)


async def test_a_call_that_is_settled_is_read_although_its_worker_is_not_asked(dispatcher, upstream, ledger):
    one = dispatcher(retry=ONCE)
    first = await one.ask(ask("known"))
    upstream.script = ["401"]
    await fails(one, 1, UpstreamRefused)
    assert await dispatcher(retry=ONCE).ask(ask("known")) == first


async def test_a_refused_request_is_no_failure_of_the_worker(dispatcher, upstream, ledger):
    one = dispatcher(retry=ONCE)
    upstream.script = ["500"] * 4 + ["400"] + ["500"] * 4
    await fails(one, 4)
    with pytest.raises(UpstreamRefused):
        await one.ask(ask("bad"))
    for number in range(4):
        with pytest.raises(UpstreamUnavailable):
            await one.ask(ask(f"later {number}"))
    await written(one, ledger, 0)


async def test_keys_take_turns_and_one_that_is_refused_is_left_out(ledger, upstream, monkeypatch):
    for name in ("A", "B"):
        monkeypatch.setenv(f"KEY_{name}", f"sk-{name}")
    worker = Worker(name="live", model="openai/m", api_base=upstream.url, key_env=("KEY_A", "KEY_B"), price={})
    one = Dispatcher(ledger, Pool(name="p", workers=(worker,)), retry=ONCE)
    for number in range(4):
        await one.ask(ask(f"turn {number}"))
    assert upstream.keys == ["bearer sk-a", "bearer sk-b"] * 2
    upstream.script = ["401"]
    await fails(one, 1, UpstreamRefused)
    for number in range(3):
        await one.ask(ask(f"rest {number}"))
    assert upstream.keys[5:] == ["bearer sk-b"] * 3
    await one.close()


@pytest.fixture
def clock(monkeypatch):
    """What the breakers reckon with: the test moves it on."""

    class Clock:
        past = 0.0

        @staticmethod
        def monotonic():
            return time.monotonic() + Clock.past

    monkeypatch.setattr(breaking, "time", Clock)
    return Clock


OFTEN = BreakerPolicy(consecutive=100, share=0.5, least=6, window_s=60.0)


async def meets(dispatcher, upstream, script):
    """Ask once for each of the script; what fails is no matter."""
    upstream.script = list(script)
    for _ in script:
        await asyncio.gather(dispatcher.ask(ask(f"call {len(upstream.seen)}")), return_exceptions=True)


async def test_half_of_enough_calls_that_fail_open_it_although_none_fail_in_a_row(dispatcher, upstream, ledger):
    one = dispatcher(retry=ONCE, breakers=OFTEN)
    await meets(one, upstream, ["500", "ok", "500", "ok", "500"])  # five are too few
    await written(one, ledger, 0)
    await meets(one, upstream, ["ok", "500"])
    [row] = await written(one, ledger, 1)
    assert row.worker == "live" and len(upstream.seen) == 7


async def test_fewer_than_the_share_open_nothing(dispatcher, upstream, ledger):
    one = dispatcher(retry=ONCE, breakers=OFTEN)
    await meets(one, upstream, ["ok", "ok", "500"] * 5)
    assert await written(one, ledger, 0) == [] and len(upstream.seen) == 15


async def test_failures_from_before_the_window_do_not_count(dispatcher, upstream, ledger, clock):
    one = dispatcher(retry=ONCE, breakers=OFTEN)
    await meets(one, upstream, ["500", "ok", "500", "ok", "500"])
    clock.past += 61.0
    await meets(one, upstream, ["ok", "ok", "500"] * 2)
    await written(one, ledger, 0)
    await meets(one, upstream, ["500", "500"])  # with those, four of eight
    [row] = await written(one, ledger, 1)
    assert row.worker == "live" and len(upstream.seen) == 13


async def test_each_probe_that_fails_doubles_the_pause_up_to_a_bound(dispatcher, upstream, ledger):
    policy = BreakerPolicy(consecutive=1, first_s=5.0, cap_s=15.0)
    waits = []
    for number in range(4):
        fresh = dispatcher(retry=ONCE, breakers=policy)  # it reads the rows as they are now
        upstream.script = ["500"]
        with pytest.raises(UpstreamUnavailable):
            await fresh.ask(ask(f"probe {number}"))
        [row] = await written(fresh, ledger, 1)
        waits.append((row.until - datetime.now(UTC)).total_seconds())
        with ledger.transaction() as connection:
            connection.execute(update(breakers).values(until=datetime.now(UTC) - timedelta(seconds=1)))
    assert waits == [pytest.approx(pause, abs=2.0) for pause in (5.0, 10.0, 15.0, 15.0)]
    upstream.script = []
    last = dispatcher(retry=ONCE, breakers=policy)
    await last.ask(ask("it is back"))
    await written(last, ledger, 0)


async def test_without_a_policy_nothing_opens(dispatcher, upstream, ledger):
    one = dispatcher(retry=ONCE, breakers=None)
    upstream.script = ["500"] * 8
    await fails(one, 8)
    assert await written(one, ledger, 0) == []
