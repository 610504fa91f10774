"""What the endpoint answered is accepted as history, however the client library wrote it down."""

from __future__ import annotations

import json

import pytest

ECHO = {"kind": "worker", "worker": "echo"}
HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
JSON = {"Content-Type": "application/json"}

WRITTEN = [{}, {"exclude_none": True}, {"exclude_unset": True}, {"mode": "json"}, {"warnings": False, "by_alias": True}]


def answered(create, stream, completions, **asked):
    """The message of an answer, as the client library has it."""
    if not stream:
        return create(model="fugu", messages=HELLO, **asked).choices[0].message
    with completions.stream(model="fugu", messages=HELLO, **asked) as events:
        return events.get_final_completion().choices[0].message


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("worker", ["echo", "mute"])
def test_a_text_and_an_answer_without_one_are_history(house, upstream, stream, worker):
    with house(fugu=ECHO) as here:
        completions = here.client.chat.completions
        asked = {"extra_body": {"fugu": {"allowed_workers": [worker]}}}
        message = answered(completions.create, stream, completions, **asked)
        upstream.seen.clear()
        for written in WRITTEN:
            completions.create(model="fugu", messages=[*HELLO, message.model_dump(**written), *HELLO])
        completions.create(model="fugu", messages=[*HELLO, message, *HELLO])
    text = "one two three" if worker == "echo" else ""
    assert [seen["messages"] for seen in upstream.seen] == [
        [*HELLO, {"role": "assistant", "content": text}, *HELLO] for _ in range(len(WRITTEN) + 1)
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_are_history_also_with_their_places_in_a_stream(house, upstream, stream):
    with house(fugu=ECHO) as here:
        completions = here.client.chat.completions
        message = answered(completions.create, stream, completions, tools=[TOOL])
        histories = [message.model_dump(**written) for written in WRITTEN]
        histories.append({**histories[0], "tool_calls": [{"index": 0, **call} for call in histories[0]["tool_calls"]]})
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "2"}
        upstream.seen.clear()
        for history in histories:
            completions.create(model="fugu", messages=[*HELLO, history, result])
    for seen in upstream.seen:
        (call,) = seen["messages"][1]["tool_calls"]
        assert (call["id"], call["type"]) == ("call_1", "function") and "index" not in call
        assert call["function"] == {"name": "add", "arguments": '{"x": 1}'}
    assert len(upstream.seen) == len(WRITTEN) + 1


def test_the_halves_of_a_character_from_two_chunks_are_the_character(house, upstream):
    history = r'{"role": "assistant", "content": "hi \ud83d' + r'\ude00 bye"}'
    body = '{"model": "fugu", "messages": [' + json.dumps(HELLO[0]) + f", {history}]}}"
    with house(fugu=ECHO) as here:
        assert here.raw.post("/v1/chat/completions", content=body, headers=JSON).status_code == 200
    assert upstream.seen[0]["messages"][1]["content"] == "hi \N{GRINNING FACE} bye"


def test_what_others_said_about_an_answer_is_taken_and_goes_no_further(house, upstream):
    said = {"role": "assistant", "content": "hi", "reasoning_content": "hm", "annotations": [], "audio": None}
    with house(fugu=ECHO) as here:
        body = {"model": "fugu", "messages": [*HELLO, {**said, "function_call": None, "tool_calls": []}, *HELLO]}
        assert here.raw.post("/v1/chat/completions", json=body).status_code == 200
    assert upstream.seen[0]["messages"][1] == {"role": "assistant", "content": "hi"}


CALLED = {"name": "add", "arguments": '{"x": 1}'}
CALL = {"id": "call_0", "type": "function", "function": CALLED}
SOUND = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
FORMS = [
    # a history as a client sends it, and as the worker gets it
    (
        [{"role": "assistant", "function_call": CALLED, "content": None},
         {"role": "function", "name": "add", "content": "2"}],
        [{"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": "call_1"}]},
         {"role": "tool", "tool_call_id": "call_1", "content": "2"}],
    ),
    (
        [{"role": "assistant", "tool_calls": [{**CALL, "index": 0}, {**CALL, "id": "b", "index": 0}]},
         {"role": "tool", "tool_call_id": "call_0", "content": [{"type": "text", "text": "2"}], "name": "add"},
         {"role": "tool", "tool_call_id": "b", "content": None}],
        [{"role": "assistant", "tool_calls": [CALL, {**CALL, "id": "b"}]},
         {"role": "tool", "tool_call_id": "call_0", "content": [{"type": "text", "text": "2"}], "name": "add"},
         {"role": "tool", "tool_call_id": "b", "content": ""}],
    ),
    (
        [{"role": "assistant", "tool_calls": [{"id": "call_0", "function": {"name": "add", "arguments": {"x": 1}}}]}],
        [{"role": "assistant", "tool_calls": [CALL]}],
    ),
    (
        [{"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "hi"}],
          "reasoning": "hm", "reasoning_details": [{"type": "reasoning.text"}], "thinking_blocks": [{}], "odd": [1]}],
        [{"role": "assistant", "content": [{"type": "text", "text": "hi"}]}],
    ),
    (
        [{"role": "user", "content": None}, {"role": "assistant", "content": []}, {"role": "user", "content": [SOUND]}],
        [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}, {"role": "user", "content": [SOUND]}],
    ),
    (
        [{"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png;base64,"}], "mood": "good"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]}],
    ),
]  # fmt: skip


def test_histories_of_every_kind_of_client_are_taken(house, upstream):
    with house(fugu=ECHO) as here:
        for sent, kept in FORMS:
            body = {"model": "fugu", "messages": [*HELLO, *sent, *HELLO]}
            answer = here.raw.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, (sent, answer.text)
            assert upstream.seen[-1]["messages"] == [*HELLO, *kept, *HELLO]
