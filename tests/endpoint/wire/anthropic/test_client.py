"""The anthropic package against a real endpoint with a real upstream: whole, streamed, tools, counting, errors."""

from __future__ import annotations

import pytest

ECHO = {"kind": "worker", "worker": "echo"}
HELLO = [{"role": "user", "content": "hello"}]
ADD = {
    "name": "add",
    "description": "sum",
    "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}},
}


@pytest.fixture
def claude(house, anthropic):
    """An endpoint, and the client on it."""
    with house(fugu=ECHO) as here, anthropic.Anthropic(base_url=here.url, api_key="none", max_retries=0) as client:
        yield client


def test_an_answer_is_a_message_with_exact_usage(claude, upstream):
    message = claude.messages.create(model="fugu", max_tokens=50, messages=HELLO, system="be short")
    assert [block.text for block in message.content] == ["one two three"]
    assert (message.stop_reason, message.role, message.model) == ("end_turn", "assistant", "fugu")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 3)
    assert message.id.startswith("msg_") and message._request_id == message.id
    (seen,) = upstream.seen
    assert seen["messages"] == [{"role": "system", "content": "be short"}, *HELLO] and seen["max_tokens"] == 50


def test_a_stream_is_the_same_message(claude):
    with claude.messages.stream(model="fugu[1m]", max_tokens=50, messages=HELLO) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 1
    assert [block.text for block in message.content] == ["one two three"]
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("end_turn", 5, 3)


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_result_comes_back(claude, upstream, stream):
    asked = {"model": "fugu", "max_tokens": 50, "tools": [ADD]}
    if stream:
        with claude.messages.stream(messages=HELLO, **asked) as events:
            message = events.get_final_message()
    else:
        message = claude.messages.create(messages=HELLO, **asked)
    (call,) = message.content
    assert (call.type, call.name, call.input, message.stop_reason) == ("tool_use", "add", {"x": 1}, "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "2"}]}
    told = [*HELLO, message.to_param(), {"role": "user", "content": [result]}]
    claude.messages.create(messages=told, **asked)
    _, called, answered = upstream.seen[-1]["messages"]
    assert called["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"x": 1}'}
    assert answered == {"role": "tool", "tool_call_id": call.id, "content": "2"}


def test_a_reminder_behind_a_result_goes_on_with_the_workflow(house, plan, upstream, anthropic):
    with (
        house(fugu=ECHO, plan=plan(("ada", "look", []))) as here,
        anthropic.Anthropic(base_url=here.url, api_key="none", max_retries=0) as client,
    ):
        asked = {"model": "fugu-ultra", "max_tokens": 50, "tools": [ADD]}
        message = client.messages.create(messages=HELLO, **asked)
        (call,) = message.content
        said = [{"type": "tool_result", "tool_use_id": call.id, "content": "2"}, {"type": "text", "text": "be quick"}]
        told = [*HELLO, message.to_param(), {"role": "user", "content": said}]
        first = client.messages.create(messages=told, **asked)
        assert first.content[0].text == "ada: 2\n\nbe quick" and first.usage.orchestration_output_tokens == 0
        # The workflow has ended: other words behind the same results are a new question.
        said[1] = {"type": "text", "text": "once more"}
        again = client.messages.create(messages=told, **asked)
    assert again.stop_reason == "tool_use" and again.id != first.id


@pytest.mark.parametrize(
    ("asked", "error", "kind"),
    [
        ({"model": "gpt"}, "NotFoundError", "not_found_error"),
        ({"max_tokens": 0}, "BadRequestError", "invalid_request_error"),
        ({"extra_body": {"fugu": {"allowed_workers": ["e429"]}}}, "RateLimitError", "rate_limit_error"),
        ({"extra_body": {"fugu": {"allowed_workers": ["e500"]}}}, "InternalServerError", "api_error"),
        (
            {"extra_body": {"fugu": {"allowed_workers": ["calc"]}}, "tools": [ADD]},
            "BadRequestError",
            "invalid_request_error",
        ),
    ],
)
def test_errors_are_anthropics(claude, anthropic, asked, error, kind):
    with pytest.raises(getattr(anthropic, error)) as caught:
        claude.messages.create(**{"model": "fugu", "max_tokens": 50, "messages": HELLO, **asked})
    body = caught.value.body
    assert (body["type"], body["error"]["type"]) == ("error", kind) and body["request_id"] == caught.value.request_id


def test_who_cannot_answer_now_is_overloaded(house, anthropic):
    with (
        house() as here,
        anthropic.Anthropic(base_url=here.url, api_key="none", max_retries=0) as client,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        client.messages.create(model="fugu", max_tokens=5, messages=HELLO)
    assert caught.value.status_code == 529 and caught.value.body["error"]["type"] == "overloaded_error"
    assert caught.value.response.headers["Retry-After"] == "1"


def test_a_stream_that_fails_ends_with_an_error_event(claude, anthropic):
    with pytest.raises(anthropic.APIStatusError) as caught:
        only = {"fugu": {"allowed_workers": ["cut"]}}
        with claude.messages.stream(model="fugu", max_tokens=50, messages=HELLO, extra_body=only) as stream:
            list(stream.text_stream)
    assert caught.value.body["type"] == "error" and caught.value.body["error"]["type"] == "api_error"


def test_pings_come_while_nothing_else_does(house, upstream):
    with house(fugu={"kind": "worker", "worker": "stall"}, heartbeat_s=0.05) as here:
        asked = {"model": "fugu", "max_tokens": 50, "messages": HELLO, "stream": True}
        with here.raw.stream("POST", "/v1/messages?beta=true", json=asked) as answer:
            lines = answer.iter_lines()
            kinds = []
            while kinds.count("ping") < 2:
                kinds += [line.removeprefix("event: ") for line in [next(lines)] if line.startswith("event: ")]
            upstream.released.set()
            kinds += [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert "message_start" in kinds and kinds[-2:] == ["message_delta", "message_stop"]


def test_tokens_are_counted_without_asking_anybody(claude, upstream, anthropic):
    asked = {"model": "fugu", "messages": [{"role": "user", "content": "one two three"}]}
    least = claude.messages.count_tokens(**asked).input_tokens
    more = claude.messages.count_tokens(**asked, system="four five", tools=[ADD]).input_tokens
    assert 3 <= least < 20 and least + 10 < more < least + 100 and not upstream.seen
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.count_tokens(**{**asked, "model": "gpt"})


def test_models_and_their_aliases(house, upstream, anthropic):
    aliases = (("claude-*", "fugu"), ("haiku", "trinity"))
    with (
        house(fugu=ECHO, aliases=aliases) as here,
        anthropic.Anthropic(base_url=here.url, api_key="none", max_retries=0) as client,
    ):
        listed = list(client.models.list())
        names = [model.id for model in listed]
        assert names[:3] == ["fugu", "trinity", "fugu-ultra"] and names[-1] == "haiku"
        assert client.models.retrieve("fugu").display_name == "fugu"
        traced = {"X-Fugu-Trace": "1"}
        said = client.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=HELLO, extra_headers=traced)
        assert said.model == "fugu" and "alias of fugu" in said.fugu["notes"][0]
        assert here.raw.get("/v1/models").json()["data"][-1]["alias_of"] == "trinity"
