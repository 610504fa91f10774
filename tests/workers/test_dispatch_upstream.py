"""The dispatcher over a real upstream: whoever leaves is seen to leave, faults cost tries, delays are kept."""

import asyncio

import pytest

from models.errors import RateLimited, RecordedWorker, UpstreamBroken, UpstreamUnavailable
from models.ledger.accounts import maybe_paid, spend
from models.workers.ask import Ask
from models.workers.retry import RetryPolicy


def ask(worker="live"):
    return Ask(scope="s", worker=worker, revision="1", messages=({"role": "user", "content": "hi"},))


async def test_a_consumer_that_stops_early_disconnects_the_upstream_and_leaves_the_call_in_doubt(
    dispatcher, ledger, upstream
):
    upstream.script = ["hang"]
    stream = dispatcher().stream(ask())
    assert (await anext(stream)).text == "he"
    await stream.aclose()
    await asyncio.wait_for(upstream.gone.wait(), 10)
    assert [row["worker"] for row in maybe_paid(ledger)] == ["live"]


async def test_a_cancelled_ask_disconnects_the_upstream(dispatcher, ledger, upstream):
    upstream.script = ["hang"]
    task = asyncio.create_task(dispatcher().ask(ask()))
    await upstream.arrived.wait()
    task.cancel()
    await asyncio.wait([task])
    await asyncio.wait_for(upstream.gone.wait(), 10)
    assert len(maybe_paid(ledger)) == 1


async def test_faults_of_a_real_upstream_cost_tries_and_end_in_one_paid_reply(dispatcher, ledger, upstream):
    upstream.script = ["429 retry-after: 0", "503"]
    reply = await dispatcher().ask(ask())
    assert reply.text == "hello" and len(upstream.seen) == 3
    account = spend(ledger)
    assert (account["tries"], account["maybe_paid"]) == (3, 0)
    assert account["usd"] == pytest.approx(reply.cost_usd) and reply.cost_usd > 0


async def test_a_recorded_worker_is_a_clear_error(dispatcher, ledger):
    with pytest.raises(RecordedWorker):
        await dispatcher().ask(ask(worker="paper"))
    assert maybe_paid(ledger) == []


def test_delays_grow_with_full_jitter_and_honour_the_upstream():
    policy = RetryPolicy(tries=20, base_s=1.0, cap_s=8.0)
    for failed, most in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (12, 8.0)):
        delays = [policy.delay(failed, UpstreamUnavailable("away")) for _ in range(300)]
        assert 0 <= min(delays) < 0.1 * most and 0.9 * most < max(delays) <= most
    assert policy.delay(1, RateLimited("busy", 30.0)) == 30.0
    assert policy.delay(20, RateLimited("busy")) is None and policy.delay(1, RateLimited("busy", 121.0)) is None
    assert policy.delay(1, UpstreamBroken("it failed")) is None  # it was paid
