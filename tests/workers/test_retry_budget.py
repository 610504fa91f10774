"""The budget of repeats on the same worker: 10 % of a minute's calls and at least three, whoever repeats them."""

from __future__ import annotations

import asyncio

import pytest

from models.errors import UpstreamUnavailable
from models.workers import retry
from models.workers.ask import Ask
from models.workers.retry import RetryBudget, RetryPolicy


@pytest.fixture
def clock(monkeypatch):
    """The seconds that `retry` reads."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(retry.time, "monotonic", lambda: Clock.now)
    return Clock


def taken(budget, tries=1000):
    return sum(budget.take() for _ in range(tries))


def test_three_repeats_are_always_allowed_and_a_tenth_of_the_calls(clock):
    assert taken(RetryBudget(RetryPolicy())) == 3
    budget = RetryBudget(RetryPolicy())
    for _ in range(200):
        budget.called(1)
    assert taken(budget) == 20 and not budget.take()


def test_a_repeat_does_not_enlarge_the_budget(clock):
    budget = RetryBudget(RetryPolicy())
    for attempt in range(2, 2000):
        budget.called(attempt)
    assert taken(budget) == 3


def test_calls_and_repeats_are_those_of_the_last_minute(clock):
    budget = RetryBudget(RetryPolicy())
    for _ in range(100):
        budget.called(1)
    assert taken(budget) == 10
    clock.now += 59.0
    assert not budget.take()
    clock.now += 2.0
    assert taken(budget) == 3  # the calls are past, too


def test_without_a_share_there_is_no_budget(clock):
    assert taken(RetryBudget(RetryPolicy(budget=None)), 100) == 100


def ask(number):
    return Ask(scope="s", worker="live", revision="1", messages=({"role": "user", "content": f"{number}"},))


@pytest.mark.parametrize("streamed", [False, True])
async def test_in_an_outage_few_calls_are_repeated(dispatcher, upstream, streamed):
    one = dispatcher(breakers=None)
    upstream.script = ["500"] * 200

    async def send(number):
        return [chunk async for chunk in one.stream(ask(number))] if streamed else await one.ask(ask(number))

    found = await asyncio.gather(*(send(number) for number in range(40)), return_exceptions=True)
    assert {type(each) for each in found} == {UpstreamUnavailable}
    assert len(upstream.seen) == 44


async def test_replies_that_are_read_again_do_not_enlarge_the_budget(dispatcher, upstream):
    one = dispatcher(breakers=None)
    await one.ask(ask("known"))
    for _ in range(100):
        await one.ask(ask("known"))
    upstream.script = ["500"] * 100
    for number in range(10):
        with pytest.raises(UpstreamUnavailable):
            await one.ask(ask(number))
    assert len(upstream.seen) == 1 + 10 + 3
