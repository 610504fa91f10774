"""Who may answer a request: no worker whose provider would refuse a field's value is asked."""

from __future__ import annotations

import json

import pytest

from deployments.endpoint.answer import abilities
from deployments.endpoint.answer.abilities import candidates
from deployments.endpoint.bounds import Bounds
from deployments.endpoint.wire.chat import ChatCompletions
from models.errors import BadInput
from models.workers.pool import Abilities, Pool, Worker

POOL = Pool(
    name="p",
    workers=(
        Worker(name="nano", model="openai/gpt-5-nano"),
        Worker(name="plain", model="openai/some-local-model", api_base="http://127.0.0.1:1/v1"),
        Worker(name="calc", model="house/calc"),
    ),
)


def chat(**fields):
    body = {"model": "fugu", "messages": [{"role": "user", "content": "hi"}], **fields}
    return ChatCompletions().question("r", None, {}, json.dumps(body).encode(), Bounds())


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"temperature": 0.2}, ("plain", "calc")),
        ({"temperature": 1}, ("nano", "plain", "calc")),
        ({"seed": 3, "max_tokens": 64_000}, ("nano", "plain", "calc")),
    ],
)
def test_a_worker_whose_provider_refuses_the_value_is_passed_over(fields, left):
    assert candidates(POOL, chat(**fields), None) == left


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 0.2}, "temperature"),
        ({"max_tokens": 5, "response_format": {"type": "json_object"}, "temperature": 0.2}, "temperature"),
    ],
)
def test_where_no_worker_takes_the_value_the_field_is_named(fields, param):
    with pytest.raises(BadInput, match=param) as caught:
        candidates(POOL, chat(**fields), ["nano"])
    assert caught.value.field == param


def test_the_same_settings_are_tried_once(monkeypatch):
    tried = []
    monkeypatch.setattr(abilities, "translates", lambda model, fields: tried.append(model) or True)
    for content in ("a", "b"):
        request = chat(temperature=0.123456, messages=[{"role": "user", "content": content}])
        candidates(POOL, request, None)
    assert tried == ["openai/gpt-5-nano", "openai/some-local-model"]


def test_fields_that_shape_nothing_cost_no_trial(monkeypatch):
    monkeypatch.setattr(abilities, "translates", None)
    assert candidates(POOL, chat(), None) == POOL.names


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"temperature": 1, "stop": ["x"], "presence_penalty": 1}, ("plain", "near")),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, ("plain",)),
        ({"response_format": {"type": "json_object"}, "reasoning_effort": "high"}, ("plain", "near")),
        ({"response_format": {"type": "text"}}, ("plain", "near")),
    ],
)
def test_a_local_model_is_passed_over_for_what_it_cannot_do(fields, left):
    pool = Pool(name="p", workers=(POOL.workers[1], Worker(name="near", model="local/mine")))
    assert candidates(pool, chat(**fields), None) == left


AUDIO = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
FILE = {"type": "file", "file": {"file_data": "data:application/pdf;base64,", "filename": "a.pdf"}}


@pytest.mark.parametrize(
    ("part", "left", "kind"),
    [(AUDIO, ("plain", "ears"), "audio"), (FILE, ("nano", "plain"), "files")],
)
def test_sounds_and_files_go_to_workers_that_take_them(part, left, kind):
    ears = Worker(name="ears", model="openai/gpt-4o", abilities=Abilities(audio=True, files=False))
    pool = Pool(name="p", workers=(*POOL.workers, ears))
    question = chat(messages=[{"role": "user", "content": [part]}])
    assert candidates(pool, question, None) == left
    with pytest.raises(BadInput, match=f"no worker here reads {kind}") as caught:
        candidates(pool, question, ["calc"])
    assert caught.value.field == "messages"
