"""What one request may use holds over all processes that work on it, exactly."""

from __future__ import annotations

import asyncio

import pytest

from models.errors import BudgetExceeded, LimitReached, UpstreamUnavailable
from models.ledger.access.purses import Purse
from models.ledger.accounts import Allowance
from models.ledger.budgets import remaining
from models.ledger.plans import StoredPlan
from models.ledger.workflows import put_workflow
from models.workers.ask import Ask, Reply
from models.workers.dispatch import Dispatcher
from models.workers.pool import Limits, Pool, Price, Worker
from models.workers.retry import RetryPolicy

POOL = Pool(
    name="p",
    workers=(
        Worker(
            name="w",
            model="openai/w",
            price=Price(input_per_million=0.0, output_per_million=500_000.0),
            limits=Limits(max_output_tokens=2, concurrency=64),
        ),
    ),
)
"""A call's worst case is 1 USD."""


class Upstream:
    """Costs `usd` a call. `failing`: how many calls fail before, unpaid."""

    def __init__(self, usd: float, failing: int = 0) -> None:
        self.usd, self.failing, self.sent = usd, failing, 0

    async def complete(self, ask):
        self.sent += 1
        await asyncio.sleep(0.005)  # so that calls overlap
        if self.failing:
            self.failing -= 1
            raise UpstreamUnavailable("away")
        return Reply(worker="w", revision="1", text="well", cost_usd=self.usd)

    def stream(self, ask):
        raise AssertionError("nothing is streamed")


def ask(number: int) -> Ask:
    return Ask(scope="r/0", worker="w", revision="1", messages=({"role": "user", "content": str(number)},))


async def sent_by(ledger, upstream, allowance, calls=24, processes=3, tries=1):
    """So many calls at once, by dispatchers that know nothing of one another; how many were answered."""
    retry = RetryPolicy(tries=tries, base_s=0.0, poll_s=0.002, poll_cap_s=0.01)
    dispatchers = [Dispatcher(ledger, POOL, upstream, retry=retry) for _ in range(processes)]

    async def one(number):
        try:
            return await dispatchers[number % processes].attempt(ask(number), allowance=allowance)
        except (LimitReached, UpstreamUnavailable) as error:
            return error

    found = await asyncio.gather(*map(one, range(calls)))
    for dispatcher in dispatchers:
        await dispatcher.close()
    return found


async def test_no_more_calls_are_sent_than_the_request_may_make(ledger):
    upstream = Upstream(0.1)
    found = await sent_by(ledger, upstream, Allowance("r", None, 7))
    assert upstream.sent == 7
    assert sorted(error.limit for error in found if isinstance(error, LimitReached)) == ["max_calls"] * 17


async def test_money_is_reserved_at_its_worst_case_and_what_is_left_over_is_used(ledger):
    upstream = Upstream(0.25)
    found = await sent_by(ledger, upstream, Allowance("r", 2.0, None))
    # 2 USD hold two worst cases at once; a call costs a quarter, and the last one has to fit whole.
    assert upstream.sent == 5
    assert sum(reply.cost_usd for reply in found if isinstance(reply, Reply)) <= 2.0
    assert {error.limit for error in found if isinstance(error, LimitReached)} == {"max_usd"}


async def test_a_try_that_failed_unpaid_uses_nothing(ledger):
    upstream = Upstream(0.1, failing=3)
    await sent_by(ledger, upstream, Allowance("r", None, 3), calls=3, processes=1)
    assert upstream.sent == 3
    await sent_by(ledger, upstream, Allowance("r", None, 3))
    assert upstream.sent == 6


async def test_calls_of_all_rounds_count_and_other_requests_do_not(ledger):
    upstream = Upstream(0.1)
    stored = StoredPlan.model_validate(
        {"policy": "p", "prompt": "1", "request": "r", "ordinals": ["w"], "salt": "s", "previous": None}
        | {name: [] for name in ("texts", "complaints", "calls", "findings", "steps")}
    )
    with ledger.transaction() as connection:
        put_workflow(ledger, "r/0", "r", "r", stored)(connection, ledger.now(connection))
    dispatcher = Dispatcher(ledger, POOL, upstream)
    later = ask(1).model_copy(update={"scope": "r/1"})
    other = ask(1).model_copy(update={"scope": "other/0"})
    for each in (ask(0), other, later):
        await dispatcher.attempt(each, allowance=Allowance("other" if each is other else "r", None, 2))
    with pytest.raises(LimitReached):
        await dispatcher.attempt(ask(2), allowance=Allowance("r", None, 2))
    await dispatcher.close()
    assert upstream.sent == 3


async def test_calls_that_are_claimed_together_fit_all_or_none_and_those_not_asked_are_given_back(ledger):
    upstream, purse = Upstream(0.25), Purse("k", "ci", total_usd=4.0)
    dispatcher = Dispatcher(ledger, POOL, upstream, retry=RetryPolicy(tries=1, patience_s=0.0))

    def calls(request, count):
        asks = [ask(number).model_copy(update={"scope": request}) for number in range(count)]
        return [(POOL.worker("w"), each) for each in asks], Allowance(request, 3.0, 3, purse)

    three, allowance = calls("r", 3)
    async with dispatcher.claims.together(three, allowance):
        assert remaining(ledger, "key:k")["reserved"] == 3.0 and upstream.sent == 0
        with pytest.raises(BudgetExceeded, match="2 calls that may cost together 2 USD"):
            async with dispatcher.claims.together(*calls("other", 2)):
                raise AssertionError("it does not fit")
        assert remaining(ledger, "key:k")["reserved"] == 3.0
        async with dispatcher.claims.together(*calls("one", 1)):
            assert remaining(ledger, "key:k")["left"] == 0.0
        await dispatcher.ask(three[0][1], allowance)
    with pytest.raises(LimitReached, match="max_calls"):
        async with dispatcher.claims.together(calls("third", 4)[0], Allowance("third", 9.0, 3)):
            raise AssertionError("it does not fit")
    await dispatcher.close()
    left = remaining(ledger, "key:k")
    assert (upstream.sent, left["spent"], left["reserved"]) == (1, 0.25, 0.0)
