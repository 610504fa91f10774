"""Completions, of before there were chats: whole and streamed. Other paths say what there is."""

from __future__ import annotations

import json

import jsonschema
import openai
import pytest

from deployments.endpoint.wire.response import encode
from models.workers.ask import Usage

ECHO = {"kind": "worker", "worker": "echo"}


def test_a_prompt_is_completed_whole_and_streamed_by_every_model(house, upstream, plan):
    with house(fugu=ECHO, plan=plan(("echo", "say it", []))) as here:
        create = here.client.completions.create
        for model in ("fugu", "trinity", "fugu-ultra"):
            reply = create(model=model, prompt="count", max_tokens=20, stop=["x"], echo=True, best_of=1, suffix="")
            assert reply.choices[0].text == "countone two three" and reply.choices[0].finish_reason == "stop"
            assert reply.id.startswith("cmpl-") and reply.object == "text_completion" and reply.usage.total_tokens >= 8
            usage = {"include_usage": True}
            chunks = list(create(model=model, prompt=["count"], stream=True, stream_options=usage, echo=True))
            text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
            assert text == "countone two three" and chunks[-1].usage.prompt_tokens == 5
            assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
        two = create(model="fugu", prompt="count", n=2, best_of=2)
        for number in range(6):
            create(model="fugu", prompt="count", logprobs=number)
    assert [choice.index for choice in two.choices] == [0, 1]
    asked = [(body["logprobs"], body.get("top_logprobs")) for body in upstream.seen[-6:]]
    assert asked == [(True, number or None) for number in range(6)]
    assert upstream.seen[0]["messages"] == [{"role": "user", "content": "count"}] and upstream.seen[0]["stop"] == ["x"]


REFUSED = [
    # what differs from a good request, the field
    ({"prompt": None}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": ["a", "b"]}, "prompt"),
    ({"prompt": [1, 2]}, "prompt"),
    ({"best_of": 3}, "best_of"),
    ({"suffix": "the end"}, "suffix"),
    ({"logprobs": 6}, "logprobs"),
    ({"model": "fugu-ultra", "logprobs": 1}, "logprobs"),
    ({"temperature": "warm"}, "temperature"),
]


def test_what_a_completion_cannot_have_is_refused_by_name(house, upstream):
    with house(fugu=ECHO) as here:
        for change, param in REFUSED:
            answer = here.raw.post("/v1/completions", json={"model": "fugu", "prompt": "x", **change})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), (change, answer.text)
    assert upstream.seen == []


def test_answers_are_what_the_document_says():
    from deployments.endpoint.answer.result import Result, Text
    from deployments.endpoint.wire.completions import TextCompletion
    from deployments.endpoint.wire.openapi import document  # Anthropic's types, in seconds

    schemas = document()["components"]["schemas"]

    def check(name, body):
        schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        jsonschema.validate(json.loads(body), schema, jsonschema.Draft202012Validator)

    entry = {"token": "one", "logprob": -0.5, "bytes": None}
    entries = ({**entry, "top_logprobs": [entry]}, {**entry, "top_logprobs": []})
    result = Result("oneone", (), "length", Usage(prompt_tokens=1, completion_tokens=2), logprobs=entries)
    writing = TextCompletion(("cmpl-1", 1, "fugu"), True, "", 1)
    check("Completion", writing.whole(result, None))
    told = json.loads(writing.whole(result, None))["choices"][0]["logprobs"]
    assert told["text_offset"] == [0, 3] and told["top_logprobs"] == [{"one": -0.5}, {}]
    for line in (writing.delta(Text("one", 0, entries)), *writing.closing(result, None)[:-1]):
        check("CompletionChunk", line.removeprefix(b"data: "))
    assert encode(told)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/embeddings", "there is no /v1/embeddings here; there is "),
        ("/chat/completions", "did you mean POST /v1/chat/completions? (is /v1 missing in the base URL?)"),
        ("/completions/", "did you mean POST /v1/completions?"),
        ("/models", "did you mean GET /v1/models?"),
    ],
)
def test_a_path_that_is_not_served_says_what_is(house, path, words):
    with house(fugu=ECHO) as here:
        error = here.raw.post(path, json={}).json()["error"]
        assert error["code"] == "not_found" and words in error["message"]
        assert "POST /v1/chat/completions" in error["message"]
        with pytest.raises(openai.NotFoundError, match="there is no /v1/embeddings here"):
            here.client.embeddings.create(model="fugu", input="x")
