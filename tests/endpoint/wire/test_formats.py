"""A format is kept whatever the worker can do: asked for in words, checked, repaired once, or a 422 that says why."""

from __future__ import annotations

import json

import openai
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from models.workers.ask import Reply, Sampling
from models.workers.fitting.formats import check, settled
from models.workers.pool import Abilities, Pool, Price, Worker

ADA = {"name": "Ada", "age": 36}
SAID = {
    "keeps": [json.dumps(ADA)],
    "fences": [f"```json\n{json.dumps(ADA)}\n```"],
    "learns": ["Ada is 36.", json.dumps(ADA)],
    "never": ['{"name": "Ada"}', '{"name": "Ada", "age": "old"}'],
}
HELLO = [{"role": "user", "content": "who?"}]


class Person(BaseModel):
    name: str
    age: int


class Scripted:
    """A model says what SAID lists under its name, one after another; a name that ends in `-mode` has the mode."""

    def __init__(self):
        self.seen = []
        self.app = Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])

    async def chat(self, request):
        body = await request.json()
        self.seen.append(body)
        texts = SAID[body["model"].removesuffix("-mode")]
        told = any(message["role"] == "assistant" for message in body["messages"])
        text = texts[min(int(told), len(texts) - 1)]
        choice = {"index": 0, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        head = {"id": "x", "created": 1, "model": body["model"], "usage": usage}
        if not body.get("stream"):
            choices = [{**choice, "message": {"role": "assistant", "content": text}}]
            return JSONResponse({**head, "object": "chat.completion", "choices": choices})

        async def events():
            for piece in (text[:5], text[5:]):
                chunk = {**choice, "finish_reason": None, "delta": {"content": piece}}
                yield f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [chunk]})}\n\n"
            yield f"data: {json.dumps({**head, 'choices': [{**choice, 'delta': {}}]})}\n\ndata: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")


@pytest.fixture(scope="module")
def _scripted(serving):
    scripted = Scripted()
    with serving(scripted.app) as url:
        yield scripted, url


@pytest.fixture
def scripted(_scripted):
    _scripted[0].seen.clear()
    return _scripted[0]


@pytest.fixture
def pool(_scripted):
    def worker(name, mode):
        able, price = Abilities(structured_output=mode), Price(input_per_million=1, output_per_million=1)
        return Worker(name=name, model=f"openai/{name}", api_base=f"{_scripted[1]}/v1", abilities=able, price=price)

    plain = [worker(name, False) for name in SAID]
    return Pool(name="p", workers=(*plain, worker("learns-mode", True), worker("never-mode", True)))


def only(worker):
    return {"kind": "worker", "worker": worker}


def parsed(here, worker, model="fugu"):
    asked = {"model": model, "messages": HELLO, "response_format": Person}
    return here.client.chat.completions.parse(
        **asked, extra_body={"fugu": {"allowed_workers": [worker]}}, extra_headers={"X-Fugu-Trace": "1"}
    )


def test_a_schema_is_kept_by_workers_with_and_without_a_mode(house, scripted, plan):
    with house(fugu=only("keeps"), plan=plan(("learns", "say it", []))) as here:
        for worker, asks in (("keeps", 1), ("fences", 1), ("learns", 2), ("learns-mode", 2)):
            scripted.seen.clear()
            reply = parsed(here, worker)
            assert reply.choices[0].message.parsed == Person(**ADA), worker
            assert len(scripted.seen) == asks and reply.usage.prompt_tokens == 5 * asks
            sent = scripted.seen[0]
            assert ("response_format" in sent) is worker.endswith("-mode")
            assert ('"age"' in sent["messages"][0]["content"]) is not worker.endswith("-mode")
            assert bool(reply.fugu.get("notes")) is not worker.endswith("-mode")
        repair = scripted.seen[1]["messages"][-2:]
        assert repair[0]["content"] == "Ada is 36." and "it is no JSON" in repair[1]["content"]
        ultra = parsed(here, "learns", "fugu-ultra")
    assert (
        ultra.choices[0].message.parsed == Person(**ADA) and len(ultra.fugu["rounds"][0]["steps"][0]["call_ids"]) == 2
    )


def test_what_fits_after_no_repair_is_a_422_in_openais_shape(house, scripted, plan):
    with house(fugu=only("never"), plan=plan(("never", "say it", []))) as here:
        for model in ("fugu", "fugu-ultra"):
            with pytest.raises(openai.UnprocessableEntityError) as refused:
                parsed(here, "never", model)
            assert refused.value.body["param"] == "response_format" and "$.age" in refused.value.body["message"]


def streamed(here, worker):
    form = {"type": "json_schema", "json_schema": {"name": "p", "schema": Person.model_json_schema()}}
    own = {"fugu": {"allowed_workers": [worker]}, "response_format": form, "stream": True}
    text = here.raw.post("/v1/chat/completions", json={"model": "fugu", "messages": HELLO, **own}).text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    said = [choice["delta"].get("content") for event in events for choice in event.get("choices", ())]
    return [piece for piece in said if piece], events[-1]


def test_a_stream_is_held_where_it_may_have_to_be_repaired_and_live_where_the_worker_has_the_mode(house, scripted):
    with house(fugu=only("keeps")) as here:
        said, _ = streamed(here, "learns")
        assert said == [json.dumps(ADA)]
        said, last = streamed(here, "learns-mode")
        assert said == ["Ada i", "s 36."] and last["error"]["code"] == "invalid_response_format"
        assert len(scripted.seen) == 3


def test_any_object_is_asked_for_in_words_too(house, scripted):
    form = {"type": "json_object"}
    own = {"fugu": {"allowed_workers": ["keeps"]}}
    with house(fugu=only("keeps")) as here:
        reply = here.client.chat.completions.create(model="fugu", messages=HELLO, response_format=form, extra_body=own)
    assert json.loads(reply.choices[0].message.content) == ADA
    assert "one JSON object and nothing else" in scripted.seen[0]["messages"][0]["content"]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "http://127.0.0.1:9/secret.json"}, "nothing outside of it is read"),
        ({"type": "person"}, "no JSON schema"),
    ],
)
def test_a_schema_that_is_none_or_that_refers_to_elsewhere_is_refused(house, schema, words):
    form = {"type": "json_schema", "json_schema": {"name": "p", "schema": schema}}
    with house(fugu=only("keeps")) as here:
        answer = here.raw.post(
            "/v1/chat/completions", json={"model": "fugu", "messages": HELLO, "response_format": form}
        )
    error = answer.json()["error"]
    assert answer.status_code == 400 and words in error["message"]
    assert error["param"] == "response_format.json_schema.schema"


def test_a_pattern_that_takes_forever_ends_and_what_was_cut_is_handed_on():
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    sampling = Sampling(response_format={"type": "json_schema", "json_schema": {"name": "p", "schema": schema}})
    check(sampling)
    said = Reply(worker="w", revision="1", text=json.dumps({"a": "a" * 40 + "!"}))
    with pytest.raises(Exception, match="does not match"):
        settled(said, sampling)
    cut = said.model_copy(update={"text": '{"a": "aa', "finish_reason": "length"})
    assert settled(cut, sampling) is cut
