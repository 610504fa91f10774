"""Answers as the official client sees them: whole and streamed, of one worker and of the loop."""

from __future__ import annotations

import asyncio

import openai
import pytest
from request_rows import recent_requests

from models.fugu.roles import Role

ECHO = {"kind": "worker", "worker": "echo"}
CALC = {"kind": "worker", "worker": "calc"}
HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
TRACE = {"X-Fugu-Trace": "1"}
IMAGE = [
    {"type": "text", "text": "what is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
]


@pytest.fixture
def ask(house):
    """The client of an endpoint whose champion is the worker `echo`."""
    with house(fugu=ECHO) as here:
        yield here.client.chat.completions.create


def test_a_whole_answer_has_text_usage_and_a_finish_reason(house, upstream, ledger):
    with house(fugu=ECHO) as here:
        answer = here.client.chat.completions.create(model="fugu", messages=HELLO)
    assert answer.choices[0].message.content == "one two three" and answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 3, 8)
    assert answer.model == "fugu" and answer.object == "chat.completion"
    row = recent_requests(ledger)[0]
    assert row["id"] == answer.id and row["worker"] == "echo" and row["status"] == 200
    assert row["cost_usd"] == pytest.approx((5 * 1.0 + 3 * 2.0) / 1e6)


def test_the_worker_gets_the_whole_conversation_and_every_field_that_shapes_the_reply(ask, upstream):
    talk = [{"role": "system", "content": "be brief"}, *HELLO, {"role": "assistant", "content": "hi"}, *HELLO]
    ask(model="fugu", messages=talk, temperature=0.5, top_p=0.9, stop=["x"], seed=7, max_completion_tokens=9, user="me")
    seen = upstream.seen[0]
    assert seen["messages"] == talk
    assert (seen["temperature"], seen["top_p"], seen["stop"], seen["seed"]) == (0.5, 0.9, ["x"], 7)
    assert seen["max_tokens"] == 9 and "user" not in seen


def test_a_stream_keeps_the_shape_that_clients_rely_on(ask, upstream):
    chunks = list(ask(model="fugu", messages=HELLO, stream=True, stream_options={"include_usage": True}))
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "one two three"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * 4 + ["stop"]
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == 8
    assert len(upstream.seen) == 1


def test_a_stream_ends_with_done_and_says_usage_only_when_asked(house, upstream):
    with house(fugu=ECHO) as here:
        body = {"model": "fugu", "messages": HELLO, "stream": True}
        answer = here.raw.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n") and "usage" not in answer.text


def test_tokens_reach_the_client_while_the_worker_still_speaks(house, upstream):
    with house(fugu={"kind": "worker", "worker": "stall"}) as here:
        chunks = here.client.chat.completions.create(model="fugu", messages=HELLO, stream=True)
        heard = ""
        while not heard:
            heard = next(chunks).choices[0].delta.content or ""
        assert heard == "one " and not upstream.released.is_set()
        upstream.released.set()
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "two three"


async def test_many_clients_are_answered_at_once(house, upstream):
    with house(fugu=ECHO) as here:
        async with openai.AsyncOpenAI(**here.base) as client:
            create = client.chat.completions.create
            streams = [create(model="fugu", messages=HELLO, stream=number % 2 == 1) for number in range(20)]
            answers = await asyncio.gather(*streams)
            for answer in answers[1::2]:
                assert [chunk async for chunk in answer][-1].choices[0].finish_reason == "stop"
    assert {answer.choices[0].message.content for answer in answers[::2]} == {"one two three"}
    assert len(upstream.seen) == 20


def test_who_answered_is_told_only_on_demand(house, upstream):
    with house(fugu=ECHO) as here:
        create = here.client.chat.completions.with_raw_response.create
        silent = create(model="fugu", messages=HELLO)
        told = create(model="fugu", messages=HELLO, extra_headers=TRACE)
        last = list(
            here.client.chat.completions.create(model="fugu", messages=HELLO, extra_headers=TRACE, stream=True)
        )[-1]
    assert "echo" not in silent.text + str(silent.headers)
    assert told.parse().fugu["worker"] == last.fugu["worker"] == told.headers["x-fugu-worker"] == "echo"
    assert told.parse().fugu["steps"][0]["call_id"] and float(told.headers["x-fugu-cost"]) > 0


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_reach_the_client_as_the_worker_made_them(ask, upstream, stream):
    answer = ask(model="fugu", messages=HELLO, tools=[TOOL], tool_choice="auto", stream=stream)
    if stream:
        chunks = list(answer)
        call = next(chunk.choices[0].delta.tool_calls[0] for chunk in chunks if chunk.choices[0].delta.tool_calls)
        assert chunks[-1].choices[0].finish_reason == "tool_calls"
    else:
        call = answer.choices[0].message.tool_calls[0]
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "add", '{"x": 1}')
    assert upstream.seen[0]["tools"] == [TOOL] and upstream.seen[0]["tool_choice"] == "auto"


def test_images_reach_the_worker_untouched(ask, upstream):
    ask(model="fugu", messages=[{"role": "user", "content": IMAGE}])
    assert upstream.seen[0]["messages"][0]["content"] == IMAGE


@pytest.mark.parametrize("way", ["header", "field"])
def test_the_caller_may_say_which_workers_may_answer(ask, upstream, way):
    allowed = {"extra_headers": {"X-Fugu-Workers": "count"}}
    if way == "field":
        allowed = {"extra_body": {"fugu": {"allowed_workers": ["count"]}}}
    assert ask(model="fugu", messages=HELLO, **allowed).choices[0].message.content == "1 messages"


def test_house_workers_answer_whole_and_streamed(house):
    question = [{"role": "user", "content": "What is 17 + 25?"}]
    with house(fugu=CALC) as here:
        whole = here.client.chat.completions.create(model="fugu", messages=question)
        chunks = list(here.client.chat.completions.create(model="fugu", messages=question, stream=True))
    assert "42" in whole.choices[0].message.content and whole.usage.total_tokens > 0
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content


def test_a_router_with_role_rows_asks_one_worker_once_for_fugu(house, upstream, router):
    served, made = router([("count", Role.THINKER)])
    with house(**served) as here:
        answer = here.client.chat.completions.create(model="fugu", messages=HELLO, extra_headers=TRACE)
    assert answer.choices[0].message.content == "1 messages" and len(upstream.seen) == 1
    assert upstream.seen[0]["messages"] == HELLO
    read, allowed = made.read[0]
    assert read[0]["role"] == "system" and read[1:] == HELLO and "count" in allowed
    assert answer.fugu["steps"][0]["role"] is None and answer.fugu["steps"][0]["margin"] == 0.5


@pytest.mark.parametrize("stream", [False, True])
def test_trinity_answers_with_the_accepted_reply_and_the_usage_of_all_turns(house, upstream, router, stream):
    upstream.scripts["You are the VERIFIER"] = "ACCEPT"
    served, _ = router([("echo", Role.SOLVER), ("count", Role.VERIFIER)])
    with house(**served) as here:
        more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        answer = here.client.chat.completions.create(
            model="trinity", messages=HELLO, extra_headers=TRACE, max_tokens=9, **more
        )
        if stream:
            chunks = list(answer)
            text, usage, trace = (
                "".join(c.choices[0].delta.content or "" for c in chunks[:-1]),
                chunks[-1].usage,
                chunks[-1].fugu,
            )
        else:
            text, usage, trace = answer.choices[0].message.content, answer.usage, answer.fugu
    assert text == "one two three" and usage.total_tokens == 16
    assert trace["worker"] == "echo" and [step["role"] for step in trace["steps"]] == ["SOLVER", "VERIFIER"]
    solver, verifier = upstream.seen
    assert solver["max_tokens"] == 9 and verifier["max_tokens"] > 9


def test_trinity_sends_heartbeats_until_a_reply_is_accepted(house, upstream, router):
    upstream.scripts["You are the VERIFIER"] = "ACCEPT"
    served, _ = router([("silent", Role.SOLVER), ("echo", Role.VERIFIER)])
    body = {"model": "trinity", "messages": HELLO, "stream": True}
    with (
        house(**served, heartbeat_s=0.02) as here,
        here.raw.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(4)] == [": working", ""] * 2
        upstream.released.set()
        rest = [line for line in lines if line.startswith("data:")]
    assert '"role":"assistant"' in rest[0] and rest[-1] == "data: [DONE]"
    assert "one two three" in "".join(rest)


def test_what_a_loop_asks_twice_is_another_sample(house, upstream, router):
    upstream.scripts["You are the THINKER"] = " "  # says nothing, so that the next THINKER is sent the same
    served, _ = router([("echo", Role.THINKER)])
    with house(**served) as here:
        create = here.client.chat.completions.create
        trace = create(model="trinity", messages=HELLO, seed=7, extra_headers=TRACE).fugu
    assert [step["role"] for step in trace["steps"]] == ["THINKER"] * 4 + ["SOLVER"] and trace["accepted"] is False
    *thinkers, solver = upstream.seen
    assert (
        len({str(seen["messages"]) for seen in thinkers}) == 1
        and len({step["call_id"] for step in trace["steps"]}) == 5
    )
    assert len({seen["seed"] for seen in thinkers}) == 4 and thinkers[0]["seed"] == solver["seed"] == 7
