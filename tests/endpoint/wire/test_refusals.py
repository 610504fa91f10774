"""What the endpoint does not take is answered in OpenAI's error shape, with the status and the field."""

from __future__ import annotations

import json

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from request_rows import recent_requests

from deployments.endpoint.wire.request import ChatRequest
from models.errors import BadInput

ECHO = {"kind": "worker", "worker": "echo"}
HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "add"}}
IMAGE = [{"type": "image_url", "image_url": {"url": "data:"}}]
ODD = [{"type": "hologram"}]

REFUSED = [
    # what differs from a good request, status, param
    ({"model": "gpt-9"}, 404, "model"),
    ({"model": None}, 400, "model"),
    ({"messages": []}, 400, "messages"),
    ({"messages": None}, 400, "messages"),
    ({"messages": "hello"}, 400, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, 400, "messages[0].role"),
    ({"messages": [*HELLO, {"role": "user"}]}, 400, "messages[1].content"),
    ({"messages": [{"role": "user", "content": ODD}]}, 400, "messages[0].content[0].type"),
    ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages[0].tool_call_id"),
    ({"n": 9}, 400, "n"),
    ({"model": "trinity", "n": 2}, 400, "n"),
    ({"modalities": ["audio"]}, 400, "modalities"),
    ({"logprobs": True, "fugu": {"allowed_workers": ["calc"]}}, 400, "logprobs"),
    ({"top_logprobs": 2}, 400, "top_logprobs"),
    ({"model": "trinity", "logprobs": True}, 400, "logprobs"),
    ({"functions": [{}]}, 400, "functions"),
    ({"temperature": "warm"}, 400, "temperature"),
    ({"temperature": 9}, 400, "temperature"),
    ({"max_tokens": 0}, 400, "max_tokens"),
    ({"max_tokens": 1, "max_completion_tokens": 2}, 400, "max_tokens"),
    ({"stop": ""}, 400, "stop"),
    ({"stop": ["x", ""]}, 400, "stop"),
    ({"stream": "yes"}, 400, "stream"),
    ({"stop": ["a", "b", "c", "d", "e"]}, 400, "stop"),
    ({"tool_choice": "required"}, 400, "tool_choice"),
    ({"tools": [], "tool_choice": "required"}, 400, "tool_choice"),
    ({"tools": [{"type": 5}]}, 400, "tools[0].type"),
    ({"fugu": {"allowed_workers": ["nobody"]}}, 400, "fugu.allowed_workers"),
    ({"fugu": {"allowed_workers": ["past"]}}, 400, "fugu.allowed_workers"),
    ({"fugu": {"speed": 1}}, 400, "fugu.speed"),
    ({"model": "trinity", "tools": [TOOL]}, 400, "tools"),
    ({"model": "trinity", "messages": [{"role": "tool", "tool_call_id": "a", "content": "x"}]}, 400, "messages[0]"),
    # the house's programs read text only
    ({"tools": [TOOL], "fugu": {"allowed_workers": ["calc"]}}, 400, "tools"),
    ({"messages": [{"role": "user", "content": IMAGE}], "fugu": {"allowed_workers": ["calc"]}}, 400, "messages"),
    ({"response_format": {"type": "json_object"}, "fugu": {"allowed_workers": ["calc"]}}, 400, "response_format"),
]


def test_bad_requests_are_refused_by_the_name_of_the_field(house, upstream, ledger):
    with house(fugu=ECHO) as here:
        for change, status, param in REFUSED:
            answer = here.raw.post("/v1/chat/completions", json={"model": "fugu", "messages": HELLO, **change})
            error = answer.json()["error"]
            assert (answer.status_code, error["param"]) == (status, param), (change, answer.text)
            assert set(error) == {"message", "type", "param", "code"} and error["type"] == "invalid_request_error"
    assert upstream.seen == [] and recent_requests(ledger) == []


def test_the_client_library_raises_its_own_errors(house):
    with house(fugu=ECHO) as here:
        create = here.client.chat.completions.create
        with pytest.raises(openai.NotFoundError) as unknown:
            create(model="gpt-9", messages=HELLO)
        with pytest.raises(openai.BadRequestError) as empty:
            create(model="fugu", messages=[])
    assert unknown.value.code == "model_not_found" and empty.value.param == "messages"


def test_bodies_that_are_no_request_are_refused(house):
    with house(fugu=ECHO, max_body_bytes=2000) as here:
        post = here.raw.post
        json_type = {"Content-Type": "application/json"}
        for body, status in (
            (b"{", 400), (b"[]", 400), (b"\xff", 400), (b"[" * 900, 400), (b" " * 2001, 413), (b" " * 2_000_000, 413)
        ):  # fmt: skip
            answer = post("/v1/chat/completions", content=body, headers=json_type)
            assert answer.status_code == status and answer.json()["error"]["message"], body[:20]
        in_pieces = (b" " * 500 for _ in range(100))
        assert post("/v1/chat/completions", content=in_pieces, headers=json_type).status_code == 413
        assert post("/v1/chat/completions", content=b"{}").status_code == 415
        assert post("/v1/elsewhere", json={}).json()["error"]["type"] == "invalid_request_error"
        assert here.raw.get("/v1/chat/completions").status_code == 405
        for host in ("evil.example", "127.0.0.1.evil.example:8000"):
            assert here.raw.get("/v1/models", headers={"Host": host}).status_code == 403


HARMLESS = {
    "store": True, "metadata": {"a": {"b": 1}}, "user": "me", "n": 1, "audio": {"voice": "x"}, "service_tier": "flex",
    "response_format": {"type": "text"}, "modalities": ["text"], "prompt_cache_key": "k", "logprobs": False,
    "top_logprobs": 0, "logit_bias": {}, "tools": [], "tool_choice": "auto", "parallel_tool_calls": False, "stop": [],
    "functions": [], "function_call": "auto", "verbosity": "low", "prompt_cache_retention": "24h", "prediction": {},
    "web_search_options": {}, "stream_options": {"include_usage": True}, "safety_identifier": 5, "top_k": 40,
}  # fmt: skip


def test_fields_that_change_nothing_are_taken_and_go_no_further(house, upstream):
    with house(fugu=ECHO) as here:
        for name, value in HARMLESS.items():
            answer = here.raw.post("/v1/chat/completions", json={"model": "fugu", "messages": HELLO, name: value})
            assert answer.status_code == 200, (name, answer.text)
        body = {"model": "fugu", "messages": HELLO, **HARMLESS}
        traced = here.raw.post("/v1/chat/completions", json=body, headers={"X-Fugu-Trace": "1"})
    names = ("function_call", "verbosity", "web_search_options")
    left = [f"{name} is not known here and was left out." for name in names]
    assert traced.json()["fugu"]["notes"] == [*left, "echo is not known to take top_k: it was left out."]
    sent = {name for seen in upstream.seen for name in seen}
    assert sent == {"model", "messages", "max_tokens", "response_format"}


SPOKEN = [
    # what differs from a good request, what a person reads
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop takes at most 4 stops"),
    ({"messages": []}, "messages needs at least 1 message"),
    ({"n": 9}, "n has to be at most 8"),
    ({"temperature": "warm"}, "temperature has to be a number"),
    ({"stream": "yes"}, "stream has to be true or false"),
    ({"functions": [{}]}, "functions: write functions as tools: answers call them as tools"),
    ({"messages": [{"role": "user", "content": IMAGE}], "fugu": {"allowed_workers": ["calc"]}}, "images"),
]


@pytest.mark.parametrize(("change", "words"), SPOKEN)
def test_a_refusal_is_in_words_that_a_person_understands(house, change, words):
    with house(fugu=ECHO) as here:
        answer = here.raw.post("/v1/chat/completions", json={"model": "fugu", "messages": HELLO, **change})
    assert answer.status_code == 400 and words in answer.json()["error"]["message"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(sorted(ChatRequest.model_fields))


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(FIELDS, JSON, max_size=4))
def test_any_json_is_a_request_or_bad_input(change):
    good = {"model": "fugu", "messages": HELLO}
    try:
        ChatRequest.parse(json.dumps({**good, **change}).encode()).sampling()
    except BadInput as error:
        assert str(error)
