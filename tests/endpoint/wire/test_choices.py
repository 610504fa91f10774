"""Several answers of one worker, log probabilities, effort: to the client as OpenAI's API has them."""

from __future__ import annotations

import json

import openai
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from models.workers.pool import Pool, Price, Worker

HELLO = [{"role": "user", "content": "hello"}]
ADA = {"kind": "worker", "worker": "ada"}


def logprobs(word):
    one = {"token": word, "logprob": -0.5, "bytes": list(word.encode())}
    return {"content": [{**one, "top_logprobs": [one]}], "refusal": None}


class Numbered:
    """Says how often it was asked, with log probabilities if they are asked for."""

    def __init__(self):
        self.seen = []
        self.app = Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])

    async def chat(self, request):
        body = await request.json()
        self.seen.append(body)
        word = f"answer-{len(self.seen)}"
        given = logprobs(word) if body.get("logprobs") else None
        head = {"id": "x", "created": 1, "model": body["model"]}
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        if not body.get("stream"):
            message = {"role": "assistant", "content": word}
            choices = [{"index": 0, "finish_reason": "stop", "message": message, "logprobs": given}]
            return JSONResponse({**head, "object": "chat.completion", "choices": choices, "usage": usage})

        async def events():
            for choice in (
                {"delta": {"content": word}, "finish_reason": None, "logprobs": given},
                {"delta": {}, "finish_reason": "stop"},
            ):
                yield f"data: {json.dumps({**head, 'choices': [{'index': 0, **choice}]})}\n\n"
            yield f"data: {json.dumps({**head, 'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")


@pytest.fixture(scope="module")
def _numbered(serving):
    numbered = Numbered()
    with serving(numbered.app) as url:
        yield numbered, url


@pytest.fixture
def numbered(_numbered):
    _numbered[0].seen.clear()
    return _numbered[0]


@pytest.fixture
def pool(_numbered):
    base, price = f"{_numbered[1]}/v1", Price(input_per_million=1, output_per_million=1)
    models = {"ada": "openai/ada", "nano": "openai/gpt-5-nano", "mini": "openai/gpt-4o-mini"}
    return Pool(
        name="p", workers=[Worker(name=name, model=model, api_base=base, price=price) for name, model in models.items()]
    )


def test_several_answers_are_several_samples_of_one_worker(house, numbered):
    with house(fugu=ADA) as here:
        create = here.client.chat.completions.create
        reply = create(model="fugu", messages=HELLO, n=3, seed=5, extra_headers={"X-Fugu-Trace": "1"})
        assert [choice.index for choice in reply.choices] == [0, 1, 2]
        assert {choice.message.content for choice in reply.choices} == {"answer-1", "answer-2", "answer-3"}
        assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (15, 9)
        assert reply.fugu["turns"] == 1 and len(reply.fugu["steps"]) == 3
        assert len({seen["seed"] for seen in numbered.seen}) == 3 and "n" not in numbered.seen[0]
        chunks = list(create(model="fugu", messages=HELLO, n=2, stream=True, stream_options={"include_usage": True}))
    said = {0: "", 1: ""}
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        said[choice.index] += choice.delta.content or ""
    assert set(said.values()) == {"answer-4", "answer-5"}
    assert sorted(choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason) == [0, 1]
    assert chunks[-1].usage.total_tokens == 16


@pytest.mark.parametrize("model", ["trinity", "fugu-ultra"])
@pytest.mark.parametrize(("name", "value"), [("n", 2), ("logprobs", True)])
def test_what_one_reply_has_is_not_for_models_that_make_theirs_of_several(house, numbered, plan, model, name, value):
    with house(fugu=ADA, plan=plan(("ada", "say it", []))) as here, pytest.raises(openai.BadRequestError) as refused:
        here.client.chat.completions.create(model=model, messages=HELLO, **{name: value})
    assert refused.value.body["param"] == name and "use 'fugu'" in refused.value.body["message"]


def test_log_probabilities_are_the_workers_own_whole_and_streamed(house, numbered):
    with house(fugu=ADA) as here:
        create = here.client.chat.completions.create
        asked = {"model": "fugu", "messages": HELLO, "logprobs": True, "top_logprobs": 1}
        [choice] = create(**asked).choices
        assert choice.logprobs.model_dump(exclude_unset=True) == logprobs(choice.message.content)
        assert create(model="fugu", messages=HELLO).choices[0].logprobs is None
        pieces = [chunk.choices[0].logprobs for chunk in create(**asked, stream=True) if chunk.choices]
        [entry] = [entry for piece in pieces if piece for entry in piece.content]
        with pytest.raises(openai.BadRequestError, match="logprobs"):
            create(**asked, extra_body={"fugu": {"allowed_workers": ["nano"]}})
    assert entry.token == "answer-3" and entry.top_logprobs[0].logprob == -0.5


def test_log_probabilities_of_a_response_are_in_its_text_and_in_its_events(house, numbered):
    with house(fugu=ADA) as here:
        create = here.client.responses.create
        asked = {"model": "fugu", "input": "hello", "include": ["message.output_text.logprobs"], "top_logprobs": 1}
        whole = create(**asked)
        [part] = whole.output[0].content
        want = logprobs(part.text)["content"]
        assert [each.model_dump() for each in part.logprobs] == want and whole.top_logprobs == 1
        assert create(model="fugu", input="hello").output[0].content[0].logprobs == []
        events = list(create(**asked, stream=True))
        deltas, [done] = (of_type(events, f"response.output_text.{kind}") for kind in ("delta", "done"))
        assert [[each.token for each in delta.logprobs] for delta in deltas if delta.logprobs] == [[done.text]]
        assert done.logprobs[0].top_logprobs[0].logprob == -0.5
        again = list(here.client.responses.retrieve(whole.id, stream=True))  # as it was kept
        assert of_type(again, "response.output_text.done")[0].logprobs[0].token == part.text
        for wrong in ({"model": "trinity"}, {"extra_body": {"fugu": {"allowed_workers": ["nano"]}}}):
            with pytest.raises(openai.BadRequestError) as refused:
                create(**asked | wrong)
            assert refused.value.param == "include"


def of_type(events, kind):
    return [event for event in events if event.type == kind]


def test_effort_is_mapped_to_what_the_worker_takes_with_a_note(house, numbered):
    mapped = {
        ("ada", "xhigh"): "xhigh", ("nano", "none"): "minimal", ("nano", "xhigh"): "high", ("nano", "max"): "high",
        ("nano", "low"): "low", ("mini", "high"): None,
    }  # fmt: skip
    with house(fugu=ADA) as here:
        for (worker, wanted), sent in mapped.items():
            reply = here.client.chat.completions.create(
                model="fugu", messages=HELLO, reasoning_effort=wanted, extra_headers={"X-Fugu-Trace": "1"},
                extra_body={"fugu": {"allowed_workers": [worker]}},
            )  # fmt: skip
            assert numbered.seen[-1].get("reasoning_effort") == sent, (worker, wanted)
            assert bool(reply.fugu.get("notes")) is (sent != wanted)
    assert reply.fugu["notes"] == ["mini takes no reasoning_effort 'high': it was left out."]
