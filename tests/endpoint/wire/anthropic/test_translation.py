"""What workers get of a request in Anthropic's form, and what is left out of it with a note."""

from __future__ import annotations

import json

import pytest

from deployments.endpoint.bounds import Bounds
from deployments.endpoint.wire.anthropic.format import Messages
from models.errors import BadInput

HELLO = [{"role": "user", "content": "hello"}]
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}
MARK = {"type": "ephemeral"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "ä"}}
LOOK = {"name": "look", "description": "see", "input_schema": {"type": "object"}}


def question(headers=None, **fields):
    body = {"model": "fugu", "max_tokens": 9, "messages": HELLO, **fields}
    return Messages().question("msg_1", None, headers or {}, json.dumps(body).encode(), Bounds())


def messages(*turns, **fields):
    return question(messages=[{"role": role, "content": content} for role, content in turns], **fields).messages


def result(content, **more):
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **more}


def test_system_is_text_a_list_and_a_role_among_the_messages():
    listed = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert messages(*[("user", "x"), ("system", "c")], system=listed) == [
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": "x"},
        {"role": "system", "content": "c"},
    ]


def test_the_billing_header_of_claude_code_is_left_out():
    billed = question(system=[{"type": "text", "text": "x-anthropic-billing-header: cc_version=1;"}])
    assert billed.messages == HELLO and "billing" in billed.notes[0]


def test_marks_for_the_cache_are_kept():
    part = {"type": "text", "text": "x", "cache_control": MARK}
    found = question(
        system=[part],
        messages=[
            {"role": "user", "content": [part]},
            {"role": "assistant", "content": [{**USE, "cache_control": MARK}]},
        ],
        tools=[{**LOOK, "cache_control": MARK}],
    )
    system, user, call = found.messages
    assert system["content"] == user["content"] == [part] and call["tool_calls"][0]["cache_control"] == MARK
    assert found.sampling.tools[0]["cache_control"] == MARK
    assert messages(("user", "x"), cache_control=MARK) == [{"role": "user", "content": [part]}]


def test_a_turn_of_results_images_and_words_is_the_results_and_then_the_rest():
    said = [
        {"type": "text", "text": "go on"},
        result([{"type": "text", "text": "a"}, {"type": "image", "source": PNG}]),
    ]
    asked, answered, user = messages(("assistant", [USE]), ("user", said))
    assert asked["tool_calls"] == [
        {"id": "toolu_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "ä"}'}}
    ]
    assert answered == {"role": "tool", "tool_call_id": "toolu_1", "content": "a\n(1 attached below)"}
    place, image, words = user["content"]
    assert "toolu_1" in place["text"] and words == {"type": "text", "text": "go on"}
    assert image == {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


def test_a_result_may_be_an_error_or_nothing():
    content = [message["content"] for message in messages(("user", [result("no", is_error=True), result(None)]))]
    assert content == ["The tool reported an error:\nno", ""]


def test_documents_and_search_results_are_read():
    plain = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}
    hit = {"type": "search_result", "title": "T", "source": "S", "content": [{"type": "text", "text": "c"}]}
    (user,) = messages(("user", [plain, pdf, hit]))
    title, data, file, found = user["content"]
    assert (title["text"], data["text"], found["text"]) == ("T", "d", "T (S)\nc")
    assert file["file"]["file_data"] == "data:application/pdf;base64,aGk="


def test_thoughts_and_servers_tools_in_the_history_are_accepted_and_not_passed_on():
    thoughts = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}},
        {"type": "text", "text": "yes", "citations": 5},
    ]
    found = question(messages=[*HELLO, {"role": "assistant", "content": thoughts}, *HELLO])
    assert found.messages[1] == {"role": "assistant", "content": "yes"}
    assert [note for note in found.notes if "server_tool_use" in note]


@pytest.mark.parametrize("content", [None, [], ""])
def test_a_message_may_be_empty(content):
    assert messages(("user", "x"), ("assistant", content), ("user", content))[1:] == [
        {"role": "assistant", "content": ""},
        {"role": "user", "content": ""},
    ]


def test_tools_of_anthropics_servers_are_left_out_and_those_of_the_client_are_functions():
    tools = [
        LOOK,
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "new_1"},
    ]
    found = question(tools=tools, tool_choice={"type": "tool", "name": "web_search"}, mcp_servers=[{"url": "x"}])
    look, bash = found.sampling.tools
    assert look["function"] == {"name": "look", "description": "see", "parameters": {"type": "object"}}
    assert bash["function"]["name"] == "bash" and "command" in bash["function"]["parameters"]["properties"]
    assert found.sampling.tool_choice is None
    for word in ("web_search_20250305", "bash_20250124", "new_1", "tool_choice", "mcp_servers"):
        assert [note for note in found.notes if word in note], word


@pytest.mark.parametrize(
    ("choice", "fields"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any", "disable_parallel_tool_use": True}, {"tool_choice": "required", "parallel_tool_calls": False}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "look"}, {"tool_choice": {"type": "function", "function": {"name": "look"}}}),
    ],
)
def test_the_choice_of_a_tool(choice, fields):
    sampling = question(tools=[LOOK], tool_choice=choice).sampling.fields()
    assert {name: sampling[name] for name in sampling if name in ("tool_choice", "parallel_tool_calls")} == fields


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 4000}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 31_999}}, "high"),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, None),
        ({"thinking": {"type": "disabled"}}, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "max"),
    ],
)
def test_thinking_is_an_effort(fields, effort):
    assert question(**fields).sampling.reasoning_effort == effort


def test_the_other_fields_of_sampling():
    form = {"type": "json_schema", "schema": {"type": "object"}}
    stops = ["a", "b", "c", "d", "e"]
    given = {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop_sequences": stops, "output_config": {"format": form}}
    sampling = question(**given).sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.stop) == (0.5, 0.9, 5, tuple(stops))
    assert sampling.response_format["json_schema"]["schema"] == {"type": "object"} and sampling.max_tokens == 9


def test_what_changes_nothing_is_accepted():
    nothing = {"service_tier": "new", "container": None, "diagnostics": {}, "betas": ["x"], "tools": [], "unknown": 1}
    found = question(**nothing, stop_sequences=[], tool_choice={"type": "auto"}, metadata={})
    assert found.sampling.fields() == {"max_tokens": 9} and found.notes == ()


def test_a_session_is_read_from_the_name_of_the_user_or_a_header():
    def named(user_id, **headers):
        found = question(headers, metadata={"user_id": user_id})
        return found.user, found.session

    assert named("ann") == ("ann", None)
    assert named("user_1_account__session_2") == ("user_1_account_", "2")
    assert named(json.dumps({"device_id": "d", "account_uuid": "", "session_id": "s"})) == ("d", "s")
    code = {"X-Claude-Code-Session-Id": "s", "X-Claude-Code-Agent-Id": "a"}
    assert named("ann", **code) == ("ann", "s a")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system"}], "cache_control": MARK}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [{"name": "x"}]}, "tools[0].input_schema"),
        ({"system": 5}, "system"),
        ({"messages": [{"role": "user", "content": [{"type": "song"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [result({})]}]}, "messages[0].content[0].content"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}
                ]
            },
            "messages[0].content[0].source",
        ),
    ],
)
def test_what_is_wrong_is_named(fields, field):
    with pytest.raises(BadInput) as error:
        question(**fields)
    assert error.value.field == field
