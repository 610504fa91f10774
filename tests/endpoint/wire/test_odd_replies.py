"""Workers that answer oddly, as a client of the endpoint meets them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial

import pytest
from request_rows import recent_requests
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from models.workers.pool import Pool, Price, Worker

HELLO = [{"role": "user", "content": "hello"}]
NEVER = "Fri, 31 Dec 9999 23:59:59 GMT"
COUNTED = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
FAILED = {"error", "abort", "html", "null"}
NAMES = ("emoji", "calls", "uncounted", "tomorrow", *sorted(FAILED))


def call(id: str, arguments: str) -> dict:
    return {"index": 0, "id": id, "type": "function", "function": {"name": "now", "arguments": arguments}}


DELTAS = {
    "emoji": [{"content": "hi \ud83d"}, {"content": "\ude00\0 bye"}],
    "calls": [{"tool_calls": [call("call_1", '{"a": 1}')]}, {"tool_calls": [call("call_2", '{"b": 2}')]}],
    "uncounted": [{"content": "word " * 100}],
}


@pytest.fixture(scope="module")
def odd(serving):
    """The URL of an upstream whose models are NAMES, and how often each was asked."""
    asked: list[str] = []

    async def chat(request):
        body = await request.json()
        name = body["model"]
        asked.append(name)
        if name == "tomorrow":
            return JSONResponse(
                {"error": {"message": "slow\0 down"}}, 429, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}
            )
        if name == "html":
            return PlainTextResponse("<html>login please</html>", media_type="text/html")
        if name == "null":
            return JSONResponse({"choices": None, "usage": COUNTED})
        deltas = DELTAS.get(name, [{"content": "half an ans"}])
        finish = name if name in FAILED else "tool_calls" if name == "calls" else "stop"
        usage = {} if name == "uncounted" else {"usage": COUNTED}
        if not body.get("stream"):
            merged = {
                "content": "".join(delta.get("content", "") for delta in deltas),
                "tool_calls": [one for delta in deltas for one in delta.get("tool_calls", ())],
            }
            # The bytes of half a pair are not UTF-8's, but JSON can say it.
            reply = {"choices": [{"message": merged, "finish_reason": finish}], **usage}
            return PlainTextResponse(json.dumps(reply), media_type="application/json")
        chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        chunks += [{"choices": [{"index": 0, "delta": {}, "finish_reason": finish}], **usage}]
        events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        return StreamingResponse(iter([*events, "data: [DONE]\n\n"]), media_type="text/event-stream")

    with serving(Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])) as url:
        yield url, asked


@pytest.fixture
def pool(odd):
    base, price = f"{odd[0]}/v1", Price(input_per_million=1, output_per_million=10)
    return Pool(
        name="odd", workers=tuple(Worker(name=n, model=f"openai/{n}", api_base=base, price=price) for n in NAMES)
    )


@pytest.fixture
def ask(asking):
    """`ask(worker, ...)` -> the endpoint's response, of that worker alone."""
    with asking() as send:
        yield send


@pytest.fixture
def asking(house, odd):
    """Within it an endpoint is there to be asked; after it all rows are."""
    odd[1].clear()

    @contextmanager
    def serve():
        with house(fugu={"kind": "worker", "worker": "emoji"}) as here:
            yield partial(_send, here)

    return serve


def _send(here, worker: str, messages=HELLO, stream=False):
    body = {"model": "fugu", "messages": messages, "stream": stream}
    headers = {"X-Fugu-Workers": worker, "X-Fugu-Trace": "1"}
    return here.raw.post("/v1/chat/completions", json=body, headers=headers)


def chunks(response) -> list[dict]:
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line.startswith("data: ")]
    return [json.loads(event) for event in events if event != "[DONE]"]


def deltas(response) -> list[dict]:
    return [chunk["choices"][0]["delta"] for chunk in chunks(response) if chunk.get("choices")]


def test_halves_of_an_emoji_are_one_whole_streamed_and_as_history(ask):
    said = ask("emoji").json()["choices"][0]["message"]["content"]
    streamed = "".join(delta.get("content") or "" for delta in deltas(ask("emoji", stream=True)))
    assert said == streamed == "hi \U0001f600\ufffd bye"
    past = [*HELLO, {"role": "assistant", "content": streamed}, *HELLO]
    assert ask("emoji", past).status_code == 200


def test_parallel_calls_of_one_index_are_two_for_the_client(ask):
    whole = ask("calls").json()["choices"][0]
    assert [one["id"] for one in whole["message"]["tool_calls"]] == ["call_1", "call_2"]
    streamed = [one for delta in deltas(ask("calls", stream=True)) for one in delta.get("tool_calls", ())]
    assert [(one["index"], one["id"]) for one in streamed] == [(0, "call_1"), (1, "call_2")]
    assert [one["function"]["arguments"] for one in streamed] == ['{"a": 1}', '{"b": 2}']
    turn = [whole["message"], *({"role": "tool", "tool_call_id": f"call_{n}", "content": "4"} for n in (1, 2))]
    assert ask("emoji", [*HELLO, *turn]).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("worker", sorted(FAILED))
def test_a_failure_of_a_worker_is_no_answer_and_asked_for_once(ask, odd, worker, stream):
    response = ask(worker, stream=stream)
    if stream and response.status_code == 200:  # it had begun
        assert chunks(response)[-1]["error"]["code"] == "upstream_error" and "[DONE]" not in response.text
    else:
        assert response.status_code == 502 and response.json()["error"]["code"] == "upstream_error"
    assert odd[1] == [worker]


@pytest.mark.parametrize("stream", [False, True])
def test_a_worker_that_asks_for_8000_years_is_a_429_of_a_day_at_once(ask, odd, stream):
    response = ask("tomorrow", stream=stream)
    assert response.status_code == 429 and response.headers["Retry-After"] == "86400"
    assert " until 20" in response.json()["error"]["message"]
    response = ask("tomorrow", stream=stream)  # its breaker is open, for a bounded time
    assert response.status_code == 503 and 200 < int(response.headers["Retry-After"]) <= 300
    assert " until 20" in response.json()["error"]["message"] and len(odd[1]) == 1


def test_usage_that_is_ours_is_marked_in_the_trace_and_the_ledger(asking, ledger):
    with asking() as ask:
        assert ask("emoji").json()["fugu"]["steps"][0]["estimated"] is False
        told = ask("uncounted").json()
    assert 80 < told["usage"]["completion_tokens"] < 150
    assert [step["estimated"] for step in told["fugu"]["steps"]] == [True]
    assert recent_requests(ledger)[0]["steps"][0]["estimated"] is True
