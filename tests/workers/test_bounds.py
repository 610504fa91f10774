"""What a reply may hold and cost is bounded, and whatever an upstream sends is an answer or an error of ours."""

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import BudgetExceeded, FuguError, UpstreamMalformed
from models.ledger.budgets import open_budget, remaining
from models.ledger.text import storable
from models.workers.ask import Ask, Sampling, json_bytes
from models.workers.dispatch import Dispatcher
from models.workers.pool import Limits, Pool, Price, Worker
from models.workers.saying import BYTES_A_TOKEN, SLACK_BYTES, Saying
from models.workers.usage import cost_of, usage_of, worst_usd

PRICE = Price(input_per_million=1, output_per_million=10)
WORKER = Worker(name="w", model="openai/m", price=PRICE, limits=Limits(max_output_tokens=100))
MOST = SLACK_BYTES + BYTES_A_TOKEN * 4096
LONG = "x" * 8_000_000
HEAD = b'{"choices": [{"index": 0, "finish_reason": null, "delta": {"content": "'
ENDLESS = [HEAD + LONG.encode() + b'"}}]}'] + [b"x" * 65_536] * 200
"""A line that is too long, and 13 MB that nobody should have to send."""


def ask(**sampling):
    message = {"role": "user", "content": "hi"}
    return Ask(scope="s", worker="w", revision="1", messages=(message,), sampling=Sampling(**sampling))


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_reply_longer_than_it_can_be_is_cut_and_costs_no_more_than_was_reserved(meet, streaming):
    answer = {"choices": [{"message": {"content": LONG}, "finish_reason": "stop"}]}
    reply = await meet(answer, streaming)
    assert (reply.finish_reason, reply.usage.estimated) == ("length", True)
    assert len(reply.text) == MOST and reply.cost_usd <= 4096 * 10 / 1e6 + 0.001


async def test_an_endless_line_of_a_stream_is_left(meet, odd):
    reply = await meet(ENDLESS, True)
    assert len(reply.text) == MOST and reply.finish_reason == "length"
    await asyncio.wait_for(odd.gone.wait(), 20)


async def test_a_stream_of_many_chunks_is_cut_too(meet):
    chunk = {"choices": [{"index": 0, "delta": {"content": "y" * 1000}, "finish_reason": None}]}
    reply = await meet([chunk] * 1000, True)
    assert len(reply.text) == MOST and reply.finish_reason == "length"


async def test_what_is_too_long_and_no_reply_is_malformed(meet):
    with pytest.raises(UpstreamMalformed, match="longer than a reply can be"):
        await meet(b"<html>" + b"x" * 8_000_000)


@pytest.mark.parametrize("usage", [10**30, 89_000_000, 10**400], ids=["10^30", "$890", "10^400"])
async def test_a_budget_stops_at_its_limit_whatever_a_worker_says_that_it_used(odd, ledger, usage):
    odd.answers["odd"] = {
        "choices": [{"message": {"content": "word " * 9000}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": usage if usage < 10**300 else 5, "completion_tokens": min(usage, 10**300)},
    }
    open_budget(ledger, "b", 0.20)
    worker = WORKER.model_copy(update={"model": "openai/odd", "api_base": odd.url, "limits": Limits()})
    dispatcher = Dispatcher(ledger, Pool(name="p", workers=(worker,)), budget="b")
    asks = [ask().model_copy(update={"replicate": number}) for number in range(12)]
    results = await dispatcher.ask_all(asks)
    refused = [result for result in results if isinstance(result, BudgetExceeded)]
    assert 0 <= remaining(ledger, "b")["left"] < 0.05 and refused and len(refused) < len(asks)
    await dispatcher.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=9,
)
FUNCTION = st.fixed_dictionaries({}, optional={"name": JSON, "arguments": JSON}) | JSON
CALLS = st.lists(
    st.fixed_dictionaries({}, optional={"id": JSON, "index": JSON, "function": FUNCTION}) | JSON, max_size=3
)
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "content": JSON | st.lists(st.fixed_dictionaries({}, optional={"type": JSON, "text": JSON, "thinking": JSON})),
        "reasoning_content": JSON,
        "tool_calls": CALLS | JSON,
        "function_call": FUNCTION,
        "refusal": JSON,
    },
)
CHOICE = st.fixed_dictionaries({}, optional={"message": MESSAGE | JSON, "delta": MESSAGE, "finish_reason": JSON})
BODY = st.fixed_dictionaries({"choices": st.lists(CHOICE | JSON, max_size=2) | JSON}, optional={"error": JSON}) | JSON


@settings(max_examples=300, deadline=None)
@given(st.lists(BODY, max_size=4))
def test_whatever_json_comes_is_read_into_text_that_can_be_stored_or_is_an_error_of_ours(bodies):
    saying = Saying(WORKER, 100)
    try:
        for body in bodies:
            saying.add(body)
        saying.end(complete=True)
    except FuguError as error:
        assert storable(str(error)) == str(error)
        return
    said = json.dumps([saying.text, saying.tool_calls, saying.finish_reason], ensure_ascii=False)
    assert "\\u0000" not in said and said.encode()
    assert saying.finish_reason in ("stop", "length", "tool_calls", "content_filter")
    assert json_bytes(saying.generated) <= 7 * saying.most


COUNTS = st.fixed_dictionaries(
    {},
    optional={
        **{name: JSON | st.integers() for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
        "completion_tokens_details": st.fixed_dictionaries({"reasoning_tokens": JSON}) | JSON,
        "prompt_tokens_details": st.fixed_dictionaries({"cached_tokens": JSON}) | JSON,
    },
)


@settings(max_examples=300, deadline=None)
@given(COUNTS | JSON, st.text(max_size=30))
def test_whatever_is_counted_usage_and_cost_stay_within_what_was_asked_and_said(counted, said):
    usage = usage_of(counted, WORKER, ask(), said)
    assert 0 < usage.prompt_tokens < 40_000 and 0 <= usage.completion_tokens <= max(100, json_bytes(said))
    assert 0 <= usage.cached_tokens <= usage.prompt_tokens and 0 <= usage.reasoning_tokens <= usage.completion_tokens
    assert 0 <= cost_of(usage, WORKER, ask()) <= worst_usd(WORKER, ask().messages, ask().sampling)


@given(st.lists(st.sampled_from(["a", "\ud83d", "\ude00", "\0", "\u2028", "\U0001f600"]), max_size=12), st.data())
def test_however_a_text_is_cut_into_chunks_the_same_text_comes_out(letters, data):
    text = "".join(letters).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    halves = [half for letter in text for half in ([letter] if ord(letter) < 0x10000 else _halves(letter))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(halves)), max_size=4)))
    pieces = ["".join(halves[a:b]) for a, b in zip([0, *cuts], [*cuts, len(halves)], strict=True)]
    saying = Saying(WORKER, 100)
    told = [saying.add({"choices": [{"delta": {"content": piece}}]}).text for piece in pieces]
    told.append(saying.end(complete=True).text)
    assert "".join(told) == (saying.text or "") == storable(text)


def _halves(letter):
    pair = letter.encode("utf-16-be")
    return [pair[at : at + 2].decode("utf-16-be", "surrogatepass") for at in (0, 2)]
