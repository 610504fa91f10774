"""Limits per minute and in flight are kept by all that share a ledger, before a provider has to refuse anything."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ClaimHeld, RateLimited
from models.ledger.calls import CallSpec, claim
from models.ledger.providers.paces import Pace, give_back
from models.ledger.store import Ledger
from models.workers.ask import Ask
from models.workers.dispatch import Dispatcher
from models.workers.pool import Limits, Pool, Worker
from models.workers.retry import RetryPolicy


def spec(name, pace, worker="w"):
    return CallSpec(name, "s", worker, "1", {}, pace=pace)


def starts(ledger, specs, owner="me"):
    return [(one.state, one.start_at, one.not_before) for one in claim(ledger, specs, owner)]


def test_calls_start_evenly_whoever_claims_them(ledger):
    pace, before = Pace(request_s=0.5), datetime.now(UTC)
    found = [each for owner in "abc" for each in starts(ledger, [spec(f"{owner}{n}", pace) for n in range(4)], owner)]
    times = [start for state, start, _ in found if state == "mine"]
    assert len(times) == 12 and times[0] >= before
    assert all(later - earlier == timedelta(seconds=0.5) for earlier, later in pairwise(times))


def test_a_call_that_would_wait_too_long_takes_no_turn(ledger):
    pace = Pace(request_s=10.0, patience_s=15.0)
    found = starts(ledger, [spec(f"{n}", pace) for n in range(4)])
    assert [state for state, *_ in found] == ["mine", "mine", "held", "held"]
    first = found[0][1]
    assert {at for *_, at in found[2:]} == {first + timedelta(seconds=20)}


def test_no_more_calls_are_open_than_may_be_in_flight(ledger):
    pace = Pace(in_flight=2)
    assert [state for state, *_ in starts(ledger, [spec(f"{n}", pace) for n in range(3)])] == ["mine", "mine", "held"]
    assert [state for state, *_ in starts(ledger, [spec("other", pace)], "another")] == ["held"]


def test_tokens_that_were_not_used_come_back(ledger):
    pace = Pace(tokens_s=30.0)
    [(_, first, _)] = starts(ledger, [spec("a", pace)])
    give_back(ledger, {"w": 29.0})
    [(_, second, _)] = starts(ledger, [spec("b", pace)])
    assert second - first == timedelta(seconds=1)


@pytest.fixture(scope="module")
def one_ledger(new_url, tmp_path_factory):
    """A ledger for all examples of a property, each with a worker of its own."""
    ledger = Ledger(new_url(tmp_path_factory.mktemp("one")))
    ledger.create_schema()
    yield ledger
    ledger.close()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.sampled_from([60.0, 240.0, 7.0]))
def test_in_no_minute_start_more_than_the_limit(one_ledger, batches, limit):
    pace, times, worker = Pace(request_s=1.01 * 60.0 / limit), [], uuid.uuid4().hex
    for number, size in enumerate(batches):
        specs = [spec(f"{worker}-{number}-{n}", pace, worker) for n in range(size)]
        times += [start for _, start, _ in starts(one_ledger, specs, f"owner {number}")]
    within = [sum(start <= at < start + timedelta(seconds=60) for at in times) for start in times]
    assert max(within) <= limit


async def test_a_worker_with_limits_is_asked_in_turns_by_two_processes(ledger, upstream):
    limits = Limits(requests_per_minute=1200, concurrency=4)
    worker = Worker(name="w", model="openai/m", api_base=upstream.url, limits=limits, price={})
    both = [Dispatcher(ledger, Pool(name="p", workers=(worker,))) for _ in range(2)]
    loop = asyncio.get_running_loop()
    began = loop.time()

    def ask(n):
        return Ask(scope="s", worker="w", revision="1", messages=({"role": "user", "content": f"{n}"},))

    replies = await asyncio.gather(*(both[n % 2].ask(ask(n)) for n in range(20)))
    assert Counter(reply.text for reply in replies) == {"hello": 20}
    assert loop.time() - began >= 19 * 0.05
    for one in both:
        await one.close()


async def test_whoever_has_no_patience_is_told_when_it_may_be_asked(ledger, upstream):
    worker = Worker(name="w", model="openai/m", api_base=upstream.url, limits={"requests_per_minute": 1}, price={})
    one = Dispatcher(ledger, Pool(name="p", workers=(worker,)), retry=RetryPolicy(pace_s=1.0, patience_s=1.0))

    def ask(n):
        return Ask(scope="s", worker="w", revision="1", messages=({"role": "user", "content": f"{n}"},))

    await one.ask(ask(0))
    with pytest.raises(RateLimited) as caught:
        await one.ask(ask(1))
    assert 50 < caught.value.retry_after <= 61 and len(upstream.seen) == 1
    await one.close()


def call(n):
    return Ask(scope="s", worker="w", revision="1", messages=({"role": "user", "content": f"{n}"},))


@pytest.fixture
async def processes(ledger, upstream):
    """`processes(count, limits)` -> dispatchers that share a ledger and a worker."""
    made = []

    def make(count, limits, **policy):
        worker = Worker(name="w", model="openai/m", api_base=upstream.url, limits=limits, price={})
        retry = RetryPolicy(poll_s=0.001, poll_cap_s=0.001, **policy)
        made.extend(Dispatcher(ledger, Pool(name="p", workers=(worker,)), retry=retry) for _ in range(count))
        return made

    yield make
    for one in made:
        await one.close()


async def test_no_more_calls_are_in_flight_than_may_be_whichever_process_asks(processes, upstream):
    both, upstream.script = processes(2, {"in_flight": 2}), ["gate"] * 9
    asks = [asyncio.create_task(both[n % 2].ask(call(n))) for n in range(9)]
    async with asyncio.timeout(20):
        while upstream.running < 2:
            await asyncio.sleep(0.005)  # the upstream tells of the first call only
    await asyncio.wait(asks, timeout=0.3)
    assert len(upstream.seen) == 2 and not any(task.done() for task in asks)
    upstream.gate.set()
    assert Counter(reply.text for reply in await asyncio.gather(*asks)) == {"hello": 9}
    assert len(upstream.seen) == 9 and upstream.most == 2


async def test_a_wait_for_a_place_in_flight_is_no_call_that_another_process_holds(processes, upstream):
    both, upstream.script = processes(2, {"in_flight": 1}, hold_s=0.01), ["gate"]
    first = asyncio.create_task(both[0].ask(call(0)))
    await upstream.arrived.wait()
    later = [asyncio.create_task(both[n % 2].ask(call(n))) for n in range(1, 5)]
    await asyncio.wait(later, timeout=0.2)
    assert not any(task.done() for task in later)
    with pytest.raises(ClaimHeld):  # this is one
        await both[1].ask(call(0))
    upstream.gate.set()
    assert {reply.text for reply in await asyncio.gather(first, *later)} == {"hello"}


async def test_whoever_waits_for_a_place_in_flight_keeps_the_deadline_of_its_request(processes, upstream):
    [one], upstream.script = processes(1, {"in_flight": 1}), ["gate"]
    first = asyncio.create_task(one.ask(call(0)))
    await upstream.arrived.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await one.ask(call(1))
    upstream.gate.set()
    assert (await first).text == "hello" and len(upstream.seen) == 1


async def test_calls_start_as_the_tokens_per_minute_allow_and_give_back_what_they_do_not_use(processes, upstream):
    # A call takes 500 tokens of 60,000 a minute (half a second) and uses 7 of them.
    both = processes(2, {"tokens_per_minute": 60_000, "max_output_tokens": 500})
    loop, upstream.script = asyncio.get_running_loop(), ["gate"] * 4
    began = loop.time()
    asks = [asyncio.create_task(both[n % 2].ask(call(n))) for n in range(4)]
    while len(upstream.seen) < 4:  # none ends, and gives something back, before the last one has begun
        upstream.arrived.clear()
        await upstream.arrived.wait()
    assert loop.time() - began >= 3 * 0.5 * 0.99
    upstream.gate.set()
    await asyncio.gather(*asks)
    began = loop.time()
    for n in range(4, 10):
        await both[n % 2].ask(call(n))
    assert loop.time() - began < 6 * 0.5 * 0.9 and len(upstream.seen) == 10
