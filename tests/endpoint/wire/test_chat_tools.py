"""Tools that are no functions never end a chat completion: custom ones are mapped, a provider's own left out."""

from __future__ import annotations

import json

import openai
import pytest

from models.workers.pool import Abilities

ECHO = {"kind": "worker", "worker": "echo"}
HELLO = [{"role": "user", "content": "hello"}]
TRACED = {"X-Fugu-Trace": "1"}
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
PATCH = {
    "type": "custom",
    "custom": {
        "name": "patch",
        "description": "Edits files.",
        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /.+/"}},
    },
}
HOSTED = [{"type": "web_search", "search_context_size": "low"}, {"type": "mcp", "server_label": "x"}]


@pytest.mark.parametrize("model", ["fugu", "fugu-ultra"])
def test_a_custom_tool_is_a_function_with_one_text_and_its_calls_come_back_as_its_own(house, upstream, plan, model):
    with house(fugu=ECHO, plan=plan(("echo", "do it", []))) as here:
        create = here.client.chat.completions.create
        asked = {
            "model": model,
            "messages": HELLO,
            "tools": [PATCH, LOOK],
            "tool_choice": PATCH | {"custom": {"name": "patch"}},
        }
        reply = create(**asked, extra_headers=TRACED)
        sent = upstream.seen[-1]
        made = sent["tools"][0]["function"]
        assert made["parameters"]["required"] == ["input"] and "start: /.+/" in made["description"]
        assert sent["tools"][1] == LOOK and sent["tool_choice"]["function"] == {"name": "patch"}
        assert "the grammar of the tool patch" in " ".join(reply.fugu["notes"])
        [call] = reply.choices[0].message.tool_calls
        assert (call.type, call.custom.name, call.custom.input) == ("custom", "patch", '{"x": 1}')
        chunks = list(create(**asked, stream=True))
        calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
        [streamed] = [call.to_dict() for call in calls]
        assert (streamed["index"], streamed["type"], streamed["custom"]) == (0, "custom", call.custom.to_dict())
        # What was sent comes back as history.
        told = [*HELLO, reply.choices[0].message.to_dict()]
        told.append({"role": "tool", "tool_call_id": call.id, "content": "done"})
        assert create(model=model, messages=told, tools=[PATCH]).choices
    back = next(m for m in upstream.seen[-1]["messages"] if m.get("tool_calls"))["tool_calls"][0]
    arguments = json.loads(back["function"]["arguments"])
    assert (back["type"], back["function"]["name"]) == ("function", "patch")
    assert arguments == ({"input": '{"x": 1}'} if model == "fugu" else {"x": 1})  # a workflow keeps the worker's own


def test_functions_beside_a_custom_tool_are_called_as_functions_also_in_a_stream(house, upstream):
    with house(fugu=ECHO) as here:
        asked = {"model": "fugu", "messages": HELLO, "tools": [LOOK, PATCH]}
        [call] = here.client.chat.completions.create(**asked).choices[0].message.tool_calls
        assert (call.type, call.function.name) == ("function", "look")
        with here.client.chat.completions.stream(**asked) as events:
            [call] = events.get_final_completion().choices[0].message.tool_calls
        assert call.function.arguments == '{"x": 1}'


@pytest.mark.parametrize("choice", ["auto", "required", {"type": "web_search"}])
@pytest.mark.parametrize("model", ["fugu", "trinity", "fugu-ultra"])
def test_providers_tools_are_left_out_with_a_note(house, upstream, plan, model, choice):
    with house(fugu=ECHO, plan=plan(("echo", "do it", []))) as here:
        asked = {"model": model, "messages": HELLO, "tools": HOSTED, "tool_choice": choice}
        reply = here.client.chat.completions.create(**asked, extra_headers=TRACED)
    assert reply.choices[0].message.content == "one two three" and "tools" not in upstream.seen[-1]
    assert "web_search, mcp" in " ".join(reply.fugu["notes"])


def test_a_worker_that_takes_a_providers_tool_gets_it_and_others_do_not(house, upstream, pool):
    def able(worker):
        taken = Abilities(hosted_tools=("web_search",)) if worker.name == "ada" else worker.abilities
        return worker.model_copy(update={"abilities": taken})

    object.__setattr__(pool, "workers", tuple(map(able, pool.workers)))
    for name, sent in (("ada", [HOSTED[0]]), ("echo", None)):
        with house(fugu={"kind": "worker", "worker": name}) as here:
            assert here.client.chat.completions.create(model="fugu", messages=HELLO, tools=HOSTED).choices
        assert upstream.seen[-1].get("tools") == sent
    # `trinity` answers with tools of its workers under no name
    with house(fugu={"kind": "worker", "worker": "ada"}, aliases=(("auto-*", "trinity"),)) as here:
        for model in ("trinity", "auto-1"):
            reply = here.client.chat.completions.create(model=model, messages=HELLO, tools=HOSTED, extra_headers=TRACED)
            assert "tools" not in upstream.seen[-1] and "web_search" in " ".join(reply.fugu["notes"])
            given = {"model": model, "input": "hi", "tools": HOSTED, "extra_headers": TRACED}
            assert "web_search" in " ".join(here.client.responses.create(**given).fugu["notes"])


def test_two_tools_of_one_name_and_a_choice_of_none_are_named(house):
    with house(fugu=ECHO) as here:
        twice = [PATCH, {**LOOK, "function": {**LOOK["function"], "name": "patch"}}]
        for more, field in (
            ({"tools": twice}, "tools[0].custom.name"),
            ({"tools": [PATCH], "tool_choice": {"type": "custom", "custom": {"name": "no"}}}, "tool_choice"),
            ({"tools": [{"type": "custom"}]}, "tools[0].custom"),
            ({"tools": [{}]}, "tools[0].type"),
        ):
            with pytest.raises(openai.BadRequestError) as refused:
                here.client.chat.completions.create(model="fugu", messages=HELLO, **more)
            assert refused.value.body["param"] == field
