"""Tools of the Responses API that are no functions never end a request: mapped, passed on, or left out with a note."""

from __future__ import annotations

import json

from deployments.endpoint.wire.responses.tools import Tools, flat, freeform_input
from models.workers.pool import Abilities

FUNCTION = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": None}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
}
HELD = {"type": "namespace", "name": "mcp__files__", "tools": [{"type": "function", "name": "read", "parameters": {}}]}
HOSTED = [{"type": "web_search", "external_web_access": True}, {"type": "mcp", "server_label": "x"}, {"type": "new"}]
TRACED = {"X-Fugu-Trace": "1"}


def test_a_freeform_tool_is_a_function_with_one_text_and_its_calls_come_back_freeform(house, upstream):
    with house(fugu={"kind": "worker", "worker": "ada"}) as here:
        asked = {"model": "fugu", "tools": [PATCH], "extra_headers": TRACED}
        first = here.client.responses.create(input="edit", **asked)
        [call] = first.output
        # The worker is asked for a function and calls one; it is not told that the tool was another.
        assert (call.type, call.name) == ("function_call", "look")
        sent = upstream.seen[-1]["tools"][0]["function"]
        assert sent["parameters"]["required"] == ["input"] and "start: /.+/" in sent["description"]
        assert "the grammar of the tool apply_patch" in first.fugu["notes"][0]
        history = [
            {"role": "user", "content": "edit"},
            {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "*** Begin"},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
        ]
        assert here.client.responses.create(input=history, **asked).output_text == "ada: done"
    call = upstream.seen[-1]["messages"][1]["tool_calls"][0]["function"]
    assert call["name"] == "apply_patch" and json.loads(call["arguments"]) == {"input": "*** Begin"}


def test_calls_come_back_as_calls_of_the_tool_that_was_given(house, upstream):
    custom, held = {**PATCH, "name": "look"}, {**HELD, "tools": [{**FUNCTION, "name": "read"}]}
    upstream_calls = {"look": "custom_tool_call", "mcp__files__read": "function_call"}
    with house(fugu={"kind": "worker", "worker": "echo"}) as here:
        for tools, name in (([custom], "look"), ([held], "mcp__files__read")):
            streamed = {"model": "fugu", "input": "go", "tools": tools, "stream": True}
            events = list(here.client.responses.create(**streamed))
            whole = here.client.responses.create(**streamed | {"stream": False})
            [call] = events[-1].response.output
            assert call.type == whole.output[0].type == upstream_calls[name]
            assert upstream.seen[-1]["tools"][0]["function"]["name"] == name
            if call.type == "custom_tool_call":
                assert call.input == '{"x": 1}'  # what the worker wrote, which is no text for the tool
                assert "response.custom_tool_call_input.done" in [event.type for event in events]
            else:
                assert (call.name, call.namespace) == ("read", "mcp__files__")


def test_providers_tools_are_left_out_with_a_note(house, upstream):
    with house(fugu={"kind": "worker", "worker": "echo"}) as here:
        asked = {"model": "fugu", "input": "hi", "tools": HOSTED, "tool_choice": {"type": "web_search"}}
        response = here.client.responses.create(**asked, extra_headers=TRACED)
        assert here.client.responses.create(**asked | {"model": "trinity"}).status == "completed"
    assert response.output_text == "one two three" and "tools" not in upstream.seen[-1]
    assert "web_search, mcp, new" in " ".join(response.fugu["notes"])


def test_a_worker_that_takes_a_providers_tool_gets_it_and_others_do_not(house, upstream, pool, monkeypatch):
    def able(worker):
        taken = Abilities(hosted_tools=("web_search",)) if worker.name == "ada" else worker.abilities
        return worker.model_copy(update={"abilities": taken})

    monkeypatch.setattr(type(pool), "workers", pool.workers, raising=False)
    object.__setattr__(pool, "workers", tuple(map(able, pool.workers)))
    for name, sent in (("ada", [HOSTED[0]]), ("echo", None)):
        with house(fugu={"kind": "worker", "worker": name}) as here:
            response = here.client.responses.create(model="fugu", input="hi", tools=HOSTED)
        assert response.status == "completed" and upstream.seen[-1].get("tools") == sent


def test_names_in_namespaces_are_functions_names_and_stay_the_same():
    long = "x" * 60
    assert flat("read", None) == "read" and flat("read", "mcp__files__") == "mcp__files__read"
    assert len(flat(long, "mcp.server")) == 64 and flat(long, "mcp.server") == flat(long, "mcp.server")
    assert flat(long, "mcp.server") != flat(long + "y", "mcp.server")
    tools = Tools([FUNCTION, PATCH, HELD])
    assert list(tools.origins) == ["look", "apply_patch", "mcp__files__read"]
    assert tools.choice({"type": "custom", "name": "apply_patch"})["function"]["name"] == "apply_patch"
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look"}]}
    assert tools.choice(allowed)["allowed_tools"]["tools"] == [{"type": "function", "function": {"name": "look"}}]


def test_the_text_of_a_freeform_call():
    assert freeform_input('{"input": "a\\nb"}') == "a\nb"
    assert freeform_input('"a"') == "a" and freeform_input("not JSON") == "not JSON" and freeform_input("{}") == "{}"
