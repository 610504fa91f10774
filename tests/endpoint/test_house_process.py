"""The first examples of a client, answered by a started endpoint on the house pool, and plans on a foreign one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import openai
import pytest
from pydantic import BaseModel

from models.ledger import registry
from models.ledger.store import Ledger

pytestmark = pytest.mark.programs

TRACE = {"X-Fugu-Trace": "1"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get current temperature for a given location.",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string", "description": "City and country e.g. Bogotá, Colombia"}},
            "required": ["location"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
PARIS = {"role": "user", "content": "What is the weather like in Paris today?"}


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@contextmanager
def started(home, pool: str, champion: str):
    """A client of `python -m deployments.endpoint`, whose conductor is ready."""
    ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
    ledger.create_schema()
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "worker", "worker": champion}, "test")
    ledger.close()
    environment = {name: value for name, value in os.environ.items() if name != "FUGU_CONDUCTOR"}
    environment |= {"FUGU_HOME": str(home), "FUGU_POOL": pool}
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.endpoint", "--port", "0"],
        env=environment, stdout=subprocess.PIPE, stderr=(home / "log").open("w"), text=True,
    )  # fmt: skip
    try:
        url = json.loads(process.stdout.readline())["url"]
        deadline = time.monotonic() + 120
        while not ((ready := httpx.get(f"{url}/readyz")).status_code == 200 and ready.json()["conductor"]):
            assert time.monotonic() < deadline and process.poll() is None, ready.text
            time.sleep(0.05)  # it is importing; questions in a row would slow it down
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with started(tmp_path_factory.mktemp("house"), "house", "calc") as client:
        yield client


@pytest.mark.parametrize("model", ["fugu", "fugu-ultra"])
def test_a_tool_is_called_and_its_result_is_the_answer(client, model):
    create = client.chat.completions.create
    [choice] = create(model=model, messages=[PARIS], tools=[WEATHER], extra_headers=TRACE).choices
    [call] = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls" and call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"location": "Paris"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "14 degrees, light rain"}
    again = create(model=model, messages=[PARIS, choice.message.model_dump(), result], tools=[WEATHER])
    assert again.choices[0].message.content == "14 degrees, light rain"
    assert again.choices[0].finish_reason == "stop"


def test_a_call_is_streamed_too(client):
    stream = client.chat.completions.create(model="fugu", messages=[PARIS], tools=[WEATHER], stream=True)
    pieces = [piece for chunk in stream for choice in chunk.choices for piece in choice.delta.tool_calls or ()]
    assert json.loads("".join(piece.function.arguments for piece in pieces)) == {"location": "Paris"}


class Event(BaseModel):
    name: str
    date: str
    participants: list[str]


@pytest.mark.parametrize("model", ["fugu", "trinity", "fugu-ultra"])
def test_json_by_schema(client, model):
    text = "Alice and Bob are going to a science fair on Friday."
    reply = client.chat.completions.parse(model=model, messages=said(text), response_format=Event)
    found = reply.choices[0].message.parsed
    assert found == Event(name="science fair", date="Friday", participants=["Alice", "Bob"])


def test_json_without_a_schema_and_effort(client):
    create = client.chat.completions.create
    asked = said("What is 17*23? Reply in JSON.")
    for model in ("fugu", "trinity", "fugu-ultra"):
        reply = create(model=model, messages=asked, response_format={"type": "json_object"}, reasoning_effort="high")
        assert json.loads(reply.choices[0].message.content) == {"answer": 391}


@pytest.mark.parametrize("model", ["fugu", "fugu-ultra"])
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [WEATHER], "tool_choice": "required"}, "tool_choice"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"tools": [WEATHER], "fugu": {"allowed_workers": ["calc"]}}, "tools"),
    ],
)
def test_what_no_house_worker_can_do_is_a_400_that_names_the_field(client, model, fields, named):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=model, messages=said("Tell me a joke."), extra_body=fields)
    assert refused.value.body["param"] == named and named in refused.value.body["message"]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many days are there between 3 March 2021 and 9 May 2021?", "67"),
        ("On which weekday was 9 December in the year when the French Revolution began?", "Wednesday"),
        ("What is 17*23?", "391"),
        ("pls: what's 17*23", "391"),
    ],
)
def test_fugu_ultra_plans_for_the_readmes_questions_and_for_what_people_type(client, question, answer):
    reply = client.chat.completions.create(model="fugu-ultra", messages=said(question), extra_headers=TRACE)
    [planned] = reply.fugu["rounds"]
    assert planned["policy"] == "house" and planned["fallback"] is None
    assert reply.choices[0].message.content.endswith(f"Answer: {answer}")


def test_a_question_far_from_all_lessons_goes_to_one_worker_unchanged(client):
    asked = said("Write me code for binary search")
    reply = client.chat.completions.create(model="fugu-ultra", messages=asked, extra_headers=TRACE)
    [planned] = reply.fugu["rounds"]
    assert "far from everything that the conductor was taught" in planned["fallback"]
    assert [step["worker"] for step in planned["steps"]] == ["calc"] and planned["texts"] == []


def test_on_a_foreign_pool_a_worker_plans_and_the_question_is_not_replaced(tmp_path, upstream, upstream_url):
    workers = [
        f"{{name: {name}, model: openai/{name}, api_base: {upstream_url}/v1, price: {{}}}}" for name in ("echo", "ada")
    ]
    (tmp_path / "pool.yaml").write_text(f"workers: [{', '.join(workers)}]")
    asked = said("Write me code for binary search")
    with started(tmp_path, str(tmp_path / "pool.yaml"), "ada") as client:
        reply = client.chat.completions.create(model="fugu-ultra", messages=asked, extra_headers=TRACE)
    [planned] = reply.fugu["rounds"]
    assert planned["policy"] == "worker:echo"
    assert "You are the conductor" in upstream.seen[0]["messages"][0]["content"]
    assert upstream.seen[-1]["messages"] == asked and upstream.seen[-1]["model"] == "ada"
    assert reply.choices[0].message.content == "ada: Write me code for binary search"
    log = (tmp_path / "log").read_text()
    assert "planned by worker:echo (it is the first worker, and nothing is measured), free" in log
