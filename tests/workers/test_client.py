import asyncio
import os
from urllib.request import proxy_bypass

import pytest

from deployments.loopback import skip_proxies
from models.errors import (
    BadInput,
    MissingKey,
    RateLimited,
    RecordedWorker,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from models.workers.ask import Ask, Sampling, Usage
from models.workers.client import Client
from models.workers.pool import Pool, Price, Worker
from models.workers.translation import check_models, prepared

COST = (5 * 1.0 + 2 * 10.0) / 1e6


def ask(worker="live", **sampling):
    message = {"role": "user", "content": "hi"}
    return Ask(scope="s", worker=worker, revision="1", messages=(message,), sampling=Sampling(**sampling))


async def test_a_reply_carries_text_usage_cost_and_time(upstream, pool):
    reply = await Client(pool).complete(ask())
    assert (reply.text, reply.finish_reason, reply.worker) == ("hello", "stop", "live")
    assert reply.usage == Usage(prompt_tokens=5, completion_tokens=2)
    assert reply.cost_usd == pytest.approx(COST) and reply.seconds > 0


async def test_halves_of_surrogate_pairs_are_joined_or_replaced(upstream, pool):
    upstream.text = "\ud83d\ude00 and half: \ud83d"
    assert (await Client(pool).complete(ask())).text == "\U0001f600 and half: \ufffd"


async def test_what_shapes_the_reply_reaches_the_upstream(upstream, pool):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    await Client(pool).complete(ask(temperature=0.5, seed=7, stop=("x",), tools=(tool,), max_tokens=9))
    (body,) = upstream.seen
    assert {**body, "model": "m"} == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "seed": 7,
        "stop": ["x"],
        "tools": [tool],
        "max_tokens": 9,
    }
    assert upstream.keys == ["bearer sk-secret"]


async def test_max_tokens_never_passes_the_limit_that_the_worst_case_assumes(upstream, pool):
    await Client(pool).complete(ask())
    await Client(pool).complete(ask(max_tokens=5000))
    assert [body["max_tokens"] for body in upstream.seen] == [50, 50]


@pytest.mark.parametrize(
    ("fault", "error", "maybe_paid"),
    [
        ("429 retry-after: 7", RateLimited, False),
        ("500", UpstreamUnavailable, False),
        ("503", UpstreamUnavailable, False),
        ("408", UpstreamTimeout, False),
        ("cut", UpstreamUnavailable, True),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_fault_is_a_transient_error_after_a_single_try(upstream, pool, fault, error, maybe_paid, streamed):
    upstream.script = [fault]
    with pytest.raises(error) as caught:
        if streamed:
            [chunk async for chunk in Client(pool).stream(ask())]
        else:
            await Client(pool).complete(ask())
    assert len(upstream.seen) == 1
    assert caught.value.maybe_paid is maybe_paid
    assert caught.value.retry_after == (7.0 if "retry-after" in fault else None)


@pytest.mark.parametrize(("model", "seeded"), [("openai/m", True), ("anthropic/claude-sonnet-4-5", False)])
async def test_a_limit_is_cut_to_the_workers_and_a_seed_goes_only_where_it_is_known(model, seeded):
    _, fields = await prepared(Worker(name="w", model=model), ask("w", seed=7, max_tokens=64_000))
    assert fields["max_tokens"] == 4096 and ("seed" in fields) is seeded


async def test_retry_after_may_be_a_date(upstream, pool):
    upstream.script = ["429 retry-after: Wed, 01 Jan 2020 00:00:00 GMT"]
    with pytest.raises(RateLimited) as caught:
        await Client(pool).complete(ask())
    assert caught.value.retry_after == 0.0


@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_a_refusal_is_permanent_and_one_line_without_the_key(upstream, pool, status):
    upstream.script = [str(status)]
    with pytest.raises(UpstreamRefused) as caught:
        await Client(pool).complete(ask())
    assert caught.value.status == status
    assert "\n" not in str(caught.value) and "sk-secret" not in str(caught.value)
    assert f"the upstream says {status}" in str(caught.value)


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_total_limit_ends_a_call_that_hangs(upstream, pool, streamed):
    await Client(pool).complete(ask())  # litellm's first call is slow
    upstream.script = ["hang"]
    with pytest.raises(UpstreamTimeout) as caught:
        if streamed:
            [chunk async for chunk in Client(pool).stream(ask("hasty"))]
        else:
            await Client(pool).complete(ask("hasty"))
    assert caught.value.maybe_paid
    await asyncio.wait_for(upstream.gone.wait(), 10)


async def test_nothing_is_paid_where_no_connection_is_made(unused_tcp_port):
    worker = Worker(name="w", model="openai/m", api_base=f"http://127.0.0.1:{unused_tcp_port}/v1", price=Price())
    with pytest.raises(UpstreamUnavailable) as caught:
        await Client(Pool(name="p", workers=(worker,))).complete(ask("w"))
    assert not caught.value.maybe_paid


async def test_an_empty_key_and_a_recorded_worker_are_told_before_anything_is_sent(upstream, pool):
    with pytest.raises(MissingKey, match="EMPTY_KEY"):
        await Client(pool).complete(ask("keyless"))
    with pytest.raises(RecordedWorker, match="'paper'"):
        await Client(pool).complete(ask("paper"))
    assert upstream.seen == []


async def test_a_stream_comes_in_pieces_and_ends_with_the_whole_reply(upstream, pool):
    chunks = [chunk async for chunk in Client(pool).stream(ask())]
    assert [chunk.text for chunk in chunks] == ["he", "llo", ""]
    reply = chunks[-1].reply
    assert (reply.text, reply.finish_reason) == ("hello", "stop")
    assert reply.usage == Usage(prompt_tokens=5, completion_tokens=2)
    assert reply.cost_usd == pytest.approx(COST)


async def test_closing_a_stream_disconnects_from_the_upstream(upstream, pool):
    upstream.script = ["hang"]
    stream = Client(pool).stream(ask())
    assert (await anext(stream)).text == "he"
    await stream.aclose()
    await asyncio.wait_for(upstream.gone.wait(), 10)


@pytest.mark.parametrize("model", ["calcc", "opnai/gpt-5"])
async def test_a_model_that_no_provider_knows_is_refused_by_nobody_who_answered(model):
    pool = Pool(name="p", workers=(Worker(name="live", model=model, price=Price()),))
    with pytest.raises(BadInput, match=f"'live'.*'{model}'"):
        check_models(pool)
    with pytest.raises(UpstreamRefused) as refused:
        await Client(pool).complete(ask())
    assert not refused.value.answered and not refused.value.of_the_request


async def test_models_that_can_be_asked_pass_and_a_providers_own_400_is_of_the_request(upstream, pool):
    check_models(pool)
    upstream.script = ["400"]
    with pytest.raises(UpstreamRefused) as refused:
        await Client(pool).complete(ask())
    assert refused.value.of_the_request


@pytest.mark.parametrize("kept", ["", "example.org, 10.0.0.1", "localhost"])
async def test_a_worker_on_this_machine_is_called_past_the_proxy_and_others_through_it(
    upstream, pool, monkeypatch, kept
):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", kept)
    skip_proxies(os.environ)
    assert (await Client(pool).complete(ask())).text == "hello"
    assert proxy_bypass("127.0.0.1") and proxy_bypass("localhost") and not proxy_bypass("api.example.com")
    assert not kept or proxy_bypass(kept.partition(",")[0])
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"]
    assert os.environ["no_proxy"].split(",").count("localhost") == 1


@pytest.mark.parametrize("model", ["openai/m", "openai/gpt-5-nano"])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_a_pool_says_which_limit_field_a_worker_takes(upstream, pool, model, name):
    worker = pool.worker("live").model_copy(update={"limit_field": name, "model": model})
    await Client(Pool(name="p", workers=(worker,))).complete(ask(max_tokens=9))
    (body,) = upstream.seen
    assert {key: value for key, value in body.items() if key.startswith("max_")} == {name: 9}
