import asyncio
import math
import re
import threading

import pytest
from sqlalchemy import select, update

from models.errors import (
    LONGEST_WAIT_S,
    BudgetExceeded,
    ClaimHeld,
    MaybePaid,
    NotFound,
    RateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from models.ledger.accounts import maybe_paid, spend
from models.ledger.budgets import open_budget, remaining
from models.ledger.calls import CallSpec, Settlement, claim
from models.ledger.tables import calls
from models.ledger.tries import send
from models.workers.ask import Ask, Reply, Sampling
from models.workers.client import Chunk
from models.workers.retry import RetryPolicy
from models.workers.writes import Writer


def ask(text="hi", worker="live", **fields):
    message = {"role": "user", "content": text}
    return Ask(scope="s", worker=worker, revision="1", messages=(message,), **fields)


class Fake:
    """A client that says what it was asked; `faults` are raised first; `gate` holds replies back."""

    def __init__(self, *faults, gate=None, cost_usd=0.0):
        self.faults, self.gate, self.cost_usd = list(faults), gate, cost_usd
        self.sent, self.running, self.most = [], 0, 0

    async def complete(self, ask):
        self.sent.append(ask)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await (self.gate.wait() if self.gate else asyncio.sleep(0))  # others have their turn, as in a real call
        finally:
            self.running -= 1
        if self.faults:
            raise self.faults.pop(0)
        text = ask.messages[-1]["content"].upper()
        return Reply(worker=ask.worker, revision="1", text=text, cost_usd=self.cost_usd)

    async def stream(self, ask):
        if self.faults and isinstance(self.faults[0], int):
            yield Chunk("half")
            raise UpstreamUnavailable("cut", maybe_paid=True)
        reply = await self.complete(ask)
        for letter in reply.text:
            yield Chunk(letter)
        yield Chunk(reply=reply)


async def test_a_call_is_sent_once_and_then_read_from_the_ledger(dispatcher, ledger):
    client = Fake(cost_usd=0.25)
    first = await dispatcher(client).ask(ask())
    again = await dispatcher(client).ask(ask())
    assert first == again and first.text == "HI" and first.call_id == ask().identity
    assert len(client.sent) == 1 and spend(ledger)["usd"] == 0.25


async def test_asks_of_one_identity_share_one_flight(dispatcher):
    client = Fake(gate=asyncio.Event())
    one = dispatcher(client)
    tasks = [asyncio.create_task(one.ask(ask())) for _ in range(5)]
    await until(lambda: client.running)
    client.gate.set()
    assert {(await task).text for task in tasks} == {"HI"} and len(client.sent) == 1


async def test_replicate_and_sampling_make_another_call(dispatcher):
    client = Fake()
    await dispatcher(client).ask_all([ask(), ask(replicate=1), ask(sampling=Sampling(seed=3)), ask()])
    assert len(client.sent) == 3


async def test_a_batch_gives_replies_and_errors_in_order(dispatcher):
    client = Fake(UpstreamRefused("no", 400))
    results = await dispatcher(client).ask_all([ask("a"), ask("b"), ask("a"), ask("c", worker="nobody")])
    assert [type(result).__name__ for result in results] == ["UpstreamRefused", "Reply", "UpstreamRefused", "NotFound"]
    assert results[1].text == "B" and isinstance(results[3], NotFound)


async def test_no_more_than_the_workers_concurrency_is_sent_at_once(dispatcher):
    client = Fake()
    await dispatcher(client).ask_all([ask(str(n)) for n in range(40)])
    assert client.most == 8 and len(client.sent) == 40


async def test_a_transient_error_is_retried_and_every_try_is_a_row(dispatcher, ledger):
    client = Fake(RateLimited("429", 0.0), UpstreamTimeout("slow", maybe_paid=True))
    assert (await dispatcher(client).ask(ask())).text == "HI"
    account = spend(ledger)
    assert (account["calls"], account["tries"], account["maybe_paid"]) == (1, 3, 1)


async def test_retries_end_with_the_last_error_and_begin_anew_later(dispatcher):
    client = Fake(*[RateLimited(f"429, the {n}") for n in ("first", "second", "third", "fourth")])
    one = dispatcher(client)
    with pytest.raises(RateLimited, match="the third"):
        await one.ask(ask())
    assert (await one.ask(ask())).text == "HI" and len(client.sent) == 5


async def test_a_longer_retry_after_than_the_patience_is_not_waited_for(dispatcher):
    client = Fake(RateLimited("429", 3600.0))
    with pytest.raises(RateLimited):
        await dispatcher(client).ask(ask())
    assert len(client.sent) == 1


@pytest.mark.parametrize("named", [3600.0, 1_795_858_000.0, 1_795_858_000_000.0, 2.5e11, math.inf])
@pytest.mark.parametrize("way", ["ask", "attempt", "stream"])
async def test_whoever_asks_again_before_a_time_beyond_patience_is_refused_at_once_and_told_it(
    dispatcher, ledger, named, way
):
    client = Fake(RateLimited("429", named))
    for one in (dispatcher(client), dispatcher(client)):
        with pytest.raises(RateLimited) as caught:
            async with asyncio.timeout(20):
                if way == "stream":
                    [chunk async for chunk in one.stream(ask())]
                else:
                    await getattr(one, way)(ask())
    assert len(client.sent) == 1 and 3500 < caught.value.retry_after <= LONGEST_WAIT_S
    assert re.search(r"may not get this request before 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", str(caught.value))
    assert states(ledger) == {"failed"}


async def test_a_time_that_is_no_number_is_none(dispatcher):
    assert (await dispatcher(Fake(RateLimited("429", math.nan), RateLimited("429", -5.0))).ask(ask())).text == "HI"


async def test_joiners_of_a_later_time_within_their_patience_do_not_send_before_it(dispatcher):
    client = Fake(RateLimited("429", 60.0))
    with pytest.raises(RateLimited):
        await dispatcher(client, retry=RetryPolicy(tries=1)).ask(ask())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await dispatcher(client, retry=RetryPolicy(patience_s=1.0)).attempt(ask(), 90.0)
    assert len(client.sent) == 1


async def test_an_attempt_is_one_try_for_all_who_join_and_the_next_one_waits_for_its_time(dispatcher, ledger):
    client = Fake(RateLimited("slow down", retry_after=0.05), UpstreamUnavailable("away"))
    one = dispatcher(client, retry=RetryPolicy(tries=1, base_s=0.02, poll_s=0.001, poll_cap_s=0.001))
    for tries in (1, 2):
        errors = await asyncio.gather(*(one.attempt(ask()) for _ in range(3)), return_exceptions=True)
        assert {type(error) for error in errors} <= {RateLimited, UpstreamUnavailable}
        assert len(client.sent) == tries
    began = asyncio.get_running_loop().time()
    replies = await asyncio.gather(*(one.attempt(ask()) for _ in range(3)))
    assert {reply.text for reply in replies} == {"HI"} and len(client.sent) == 3
    assert asyncio.get_running_loop().time() - began < 1.0
    assert spend(ledger)["tries"] == 3


async def test_who_asks_after_a_failed_attempt_in_another_process_waits_for_the_rows_time(dispatcher, ledger):
    client = Fake(RateLimited("slow down", retry_after=0.1))
    with pytest.raises(RateLimited):
        await dispatcher(client, retry=RetryPolicy(tries=1)).attempt(ask())
    began = asyncio.get_running_loop().time()
    assert (await dispatcher(client).attempt(ask())).text == "HI"
    assert asyncio.get_running_loop().time() - began > 0.05


async def test_a_permanent_error_is_not_retried_and_costs_nothing(dispatcher, ledger):
    client = Fake(UpstreamRefused("no", 400))
    with pytest.raises(UpstreamRefused):
        await dispatcher(client).ask(ask())
    assert len(client.sent) == 1 and maybe_paid(ledger) == []
    assert (await dispatcher(client).ask(ask())).text == "HI"


async def test_an_error_of_an_unknown_kind_leaves_the_call_in_doubt(dispatcher, ledger):
    with pytest.raises(ZeroDivisionError):
        await dispatcher(Fake(ZeroDivisionError())).ask_all([ask()])
    assert len(maybe_paid(ledger)) == 1


async def test_without_resend_a_call_in_doubt_is_an_error(dispatcher):
    client = Fake(UpstreamTimeout("slow", maybe_paid=True))
    with pytest.raises(MaybePaid):
        await dispatcher(client, resend=False).ask(ask())
    assert len(client.sent) == 1


async def test_the_last_cancelled_waiter_cancels_the_call(dispatcher, ledger):
    client = Fake(gate=asyncio.Event())
    one = dispatcher(client)
    first, second = (asyncio.create_task(one.ask(ask())) for _ in range(2))
    await until(lambda: client.running)
    first.cancel()
    await asyncio.wait([first])
    assert client.running == 1 and maybe_paid(ledger) == []
    second.cancel()
    await asyncio.wait([second])
    assert client.running == 0 and len(maybe_paid(ledger)) == 1


async def test_a_call_cancelled_before_it_was_sent_is_free_and_open_to_all(dispatcher, ledger):
    client = Fake(gate=asyncio.Event())
    one = dispatcher(client)
    tasks = [asyncio.create_task(one.ask(ask(str(n)))) for n in range(9)]
    await until(lambda: client.running == 8)
    tasks[8].cancel()
    await asyncio.wait([tasks[8]])
    assert maybe_paid(ledger) == []
    assert (await dispatcher(Fake()).ask(ask("8"))).text == "8"
    client.gate.set()
    await asyncio.gather(*tasks[:8])


async def test_a_call_held_by_another_process_is_waited_for(dispatcher, ledger, pool):
    gate = asyncio.Event()
    client, other = Fake(gate=gate), Fake()
    task = asyncio.create_task(dispatcher(client).ask(ask()))
    await until(lambda: client.running)
    joiner = asyncio.create_task(dispatcher(other).ask(ask()))
    with pytest.raises(ClaimHeld):
        await dispatcher(other, retry=RetryPolicy(hold_s=0.0)).ask(ask())
    gate.set()
    assert (await joiner) == (await task) and other.sent == []


async def test_an_owner_who_lost_its_lease_answers_with_the_reply_that_was_kept(dispatcher, ledger):
    slow, quick = Fake(gate=asyncio.Event(), cost_usd=0.25), Fake(cost_usd=0.5)
    task = asyncio.create_task(dispatcher(slow).ask(ask()))
    await until(lambda: slow.running)
    with ledger.transaction() as connection:
        connection.execute(update(calls).values(lease_until=ledger.now(connection)))
    kept = await dispatcher(quick).ask(ask())
    slow.gate.set()
    assert await task == kept
    assert spend(ledger)["usd"] == 0.75 and spend(ledger)["settled"] == 1


async def test_a_lease_is_renewed_while_the_call_is_in_flight(dispatcher, ledger):
    def lease():
        with ledger.reading() as connection:
            return connection.execute(select(calls.c.lease_until)).scalar_one()

    client = Fake(gate=asyncio.Event())
    task = asyncio.create_task(dispatcher(client, lease_s=0.03).ask(ask()))
    await until(lambda: client.running)
    for _ in range(3):
        seen = lease()
        await until(lambda seen=seen: lease() > seen)
    client.gate.set()
    assert (await task).text == "HI"


async def test_a_budget_lets_calls_wait_for_those_that_run_and_then_refuses(dispatcher, ledger):
    """Worst case of a call: about 0.0006 USD; it costs 0.0001; the limit bears two at once, and 15 or so in all."""
    open_budget(ledger, "b", 0.0015)
    client = Fake(cost_usd=0.0001)
    results = await dispatcher(client, budget="b").ask_all([ask(str(n)) for n in range(30)])
    refused = [result for result in results if isinstance(result, BudgetExceeded)]
    left = remaining(ledger, "b")
    assert 5 < len(client.sent) < 15 and len(client.sent) + len(refused) == 30
    assert left["reserved"] == 0.0 and left["spent"] == round(0.0001 * len(client.sent), 9) <= 0.0015
    assert client.most <= 2 and spend(ledger)["calls"] == len(client.sent)


async def test_a_claim_cancelled_while_it_is_written_frees_its_budget_for_those_who_wait(
    dispatcher, ledger, monkeypatch
):
    """The limit bears two calls: one that runs, and one of the two that are claimed in the transaction after it."""
    open_budget(ledger, "b", 0.0015)
    written = threading.Event()

    def slowly(*args, **options):
        written.wait(20)
        return claim(*args, **options)

    monkeypatch.setattr("models.workers.writes.claim", slowly)
    client = Fake(gate=asyncio.Event())
    one = dispatcher(client, budget="b")
    tasks = []
    for text in ("runs", "leaves", "waits"):
        tasks.append(asyncio.create_task(one.ask(ask(text))))
        await until(lambda: len(one._commit._waiting) == max(0, len(tasks) - 1) and one._commit._pump)
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    written.set()
    await until(lambda: len(client.sent) == 2)
    client.gate.set()
    assert [(await tasks[at]).text for at in (0, 2)] == ["RUNS", "WAITS"]
    assert maybe_paid(ledger) == [] and remaining(ledger, "b")["reserved"] == 0.0


async def test_a_stream_is_settled_and_replayed(dispatcher):
    client = Fake()
    chunks = [chunk async for chunk in dispatcher(client).stream(ask())]
    again = [chunk async for chunk in dispatcher(client).stream(ask())]
    assert [chunk.text for chunk in chunks] == ["H", "I", ""] and [c.text for c in again] == ["HI", ""]
    assert chunks[-1].reply == again[-1].reply == await dispatcher(client).ask(ask())
    assert len(client.sent) == 1


async def test_a_stream_is_retried_only_before_its_first_word(dispatcher, ledger):
    assert [c async for c in dispatcher(Fake(RateLimited("429"))).stream(ask())][-1].reply.text == "HI"
    with pytest.raises(UpstreamUnavailable):
        [chunk async for chunk in dispatcher(Fake(1)).stream(ask("cut"))]
    assert len(maybe_paid(ledger)) == 1


async def test_a_claim_whose_owner_died_is_taken_over(dispatcher, ledger):
    dead = CallSpec(ask().identity, "s", "live", "1", ask().payload())
    claim(ledger, [dead], "dead", lease_s=0)
    send(ledger, [(dead.identity, 1)], "dead", lease_s=0)
    assert (await dispatcher(Fake()).ask(ask())).text == "HI"
    assert len(maybe_paid(ledger)) == 1


async def test_a_claim_whose_owner_died_before_it_was_sent_is_free_also_without_resend(dispatcher, ledger):
    dead = CallSpec(ask().identity, "s", "live", "1", ask().payload())
    claim(ledger, [dead], "dead", lease_s=0)
    assert (await dispatcher(Fake(), resend=False).ask(ask())).text == "HI"
    assert maybe_paid(ledger) == [] and spend(ledger)["maybe_usd"] == 0.0


async def test_a_call_is_sent_only_after_the_ledger_says_so_and_what_waits_for_its_turn_is_not(dispatcher, ledger):
    client = Fake(gate=asyncio.Event())
    task = asyncio.create_task(dispatcher(client).ask_all([ask(str(n)) for n in range(20)]))
    await until(lambda: client.running == 8)
    with ledger.reading() as connection:
        rows = connection.execute(select(calls.c.id).where(calls.c.status == "sent")).scalars().all()
    assert set(rows) >= {sent.identity for sent in client.sent} and len(rows) == 8
    client.gate.set()
    await task


async def test_a_claim_whose_caller_leaves_before_it_hears_of_it_is_given_back(dispatcher, ledger):
    commit = dispatcher(Fake())._commit
    spec = CallSpec(ask().identity, "s", "live", "1", ask().payload(), sends=True)
    leaving = asyncio.create_task(commit.claim(spec))
    await until(lambda: commit.alive)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await until(lambda: not commit.alive)
    assert maybe_paid(ledger) == [] and states(ledger) == {"failed"}


async def test_what_cannot_be_written_is_the_only_one_of_its_batch_that_is_not(ledger):
    writer = Writer(ledger, "me", 120.0, True, None)
    specs = [CallSpec(name, "s", "live", "1", {}, sends=True) for name in ("bad", "good")]
    assert [found.state for found in writer.write(specs)] == ["mine", "mine"]
    settlements = [Settlement(name, 1, "me", {"text": text}, 0.0, 0.1) for name, text in (("bad", {1}), ("good", ""))]
    bad, good, new = writer.write([*settlements, CallSpec("new", "s", "live", "1", {})])
    assert isinstance(bad, TypeError) and good is True and new.state == "mine"
    assert states(ledger) == {"sent", "settled", "claimed"}


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)  # any condition is waited for


def states(ledger):
    with ledger.reading() as connection:
        return set(connection.execute(select(calls.c.status)).scalars())
