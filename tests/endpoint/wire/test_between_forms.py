"""One conversation that moves between the three forms: the worker sees what it would see if it had stayed in one."""

from __future__ import annotations

import json
import re

import pytest

ADA = {"kind": "worker", "worker": "ada"}
SCHEMA = {"type": "object", "properties": {"by": {"type": "string"}, "n": {"type": "integer"}}}
LOOK = {"name": "look", "description": "look around"}
QUESTION, RESULT, MORE = "where is it?", "under the tree", "and now?"


@pytest.fixture(params=["fugu", "fugu-ultra"])
def model(request):
    """One worker's answer, and a workflow's, which finds the step of a result by the id that the client was given."""
    return request.param


@pytest.fixture
def here(house, plan):
    with house(fugu=ADA, plan=plan(("ada", "answer it", []))) as here:
        yield here


class Forms:
    """A client of each form: what it is told, and its answer as plain JSON, whole or put together from a stream."""

    def __init__(self, here, anthropic, model, stream):
        self.here, self.anthropic, self.model, self.stream = here, anthropic, model, stream

    def chat(self, messages):
        completions = self.here.client.chat.completions
        asked = {
            "model": self.model,
            "messages": messages,
            "tools": [{"type": "function", "function": {**LOOK, "parameters": SCHEMA}}],
        }
        if self.stream:
            with completions.stream(**asked) as events:
                answer = events.get_final_completion()
        else:
            answer = completions.create(**asked)
        message = json.loads(answer.choices[0].message.to_json())
        for call in message.get("tool_calls") or ():  # what the package's parser adds
            call["function"].pop("parsed_arguments", None)
            call.pop("index", None)
        return {name: message[name] for name in ("role", "content", "tool_calls") if message.get(name)}

    def messages(self, messages):
        asked = {"model": self.model, "max_tokens": 99, "messages": messages}
        asked["tools"] = [{**LOOK, "input_schema": SCHEMA}]
        with self.anthropic.Anthropic(base_url=self.here.url, api_key="none", max_retries=0) as client:
            if self.stream:
                with client.messages.stream(**asked) as events:
                    answer = events.get_final_message()
            else:
                answer = client.messages.create(**asked)
        return answer.to_dict()["content"]

    def responses(self, items):
        asked = {"model": self.model, "input": items, "tools": [{"type": "function", **LOOK, "parameters": SCHEMA}]}
        if self.stream:
            *_, last = self.here.client.responses.create(**asked, stream=True)
            return last.response.to_dict()["output"]
        return self.here.client.responses.create(**asked).to_dict()["output"]


def seen_by_workers(upstream):
    """The conversations that they got: what is null is absent, and ids, which are new ones each time, are numbered."""
    found = [[{name: v for name, v in m.items() if v is not None} for m in body["messages"]] for body in upstream.seen]
    ids = dict.fromkeys(re.findall(r'"(call_\w+)"', json.dumps(found)))
    return numbered(found, {id: f"call {number}" for number, id in enumerate(ids)})


def numbered(value, ids):
    if isinstance(value, dict):
        return {name: numbered(part, ids) for name, part in value.items()}
    if isinstance(value, list):
        return [numbered(part, ids) for part in value]
    return ids.get(value, value) if isinstance(value, str) else value


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_conversation_goes_on_in_each_form_with_what_the_one_before_sent(here, upstream, anthropic, model, stream):
    client = Forms(here, anthropic, model, stream)
    called = client.chat([{"role": "user", "content": QUESTION}])
    [call] = called["tool_calls"]

    use = {"type": "tool_use", "id": call["id"], "name": call["function"]["name"]}
    use["input"] = json.loads(call["function"]["arguments"])
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": RESULT}
    [said] = client.messages(
        [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result]},
        ]
    )
    assert said["type"] == "text" and RESULT in said["text"]

    function = {"name": use["name"], "arguments": json.dumps(use["input"])}
    [again] = client.responses(
        [
            {"role": "user", "content": QUESTION},
            {"type": "function_call", "call_id": use["id"], **function},
            {"type": "function_call_output", "call_id": use["id"], "output": RESULT},
            {"role": "assistant", "content": [{"type": "output_text", "text": said["text"]}]},
            {"role": "user", "content": MORE},
        ]
    )
    assert (again["type"], again["name"]) == ("function_call", "look")
    moved = seen_by_workers(upstream)

    upstream.forget()  # the same conversation, by a client that stays with chat completions
    stayed = [{"role": "user", "content": QUESTION}]
    stayed.append(client.chat(stayed))
    stayed.append({"role": "tool", "tool_call_id": stayed[-1]["tool_calls"][0]["id"], "content": RESULT})
    stayed.append(client.chat(stayed))
    assert stayed[-1] == {"role": "assistant", "content": said["text"]}
    client.chat([*stayed, {"role": "user", "content": MORE}])
    assert moved == seen_by_workers(upstream) and len(moved) == 3
