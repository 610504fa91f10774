import json

import pytest

from models.house.handler import register
from models.house.provider import COUNTER, complete

ASKED = [{"role": "user", "content": "What is 17 * 23?"}]
WHOLE = "Computed exactly.\nAnswer: 391"


@pytest.fixture(scope="module")
def litellm():
    register()
    register()  # a second time changes nothing
    import litellm

    assert [entry["provider"] for entry in litellm.custom_provider_map].count("house") == 1
    return litellm


def test_a_call_comes_back_with_usage_and_finish_reason(litellm):
    reply = litellm.completion(model="house/calc", messages=ASKED, seed=3)
    assert reply.choices[0].message.content == WHOLE
    assert reply.choices[0].finish_reason == "stop"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (5, 4, 9)


async def test_sync_and_async_and_streams_say_the_same(litellm):
    whole = await litellm.acompletion(model="house/calc", messages=ASKED, seed=3)
    stream = litellm.completion(model="house/calc", messages=ASKED, seed=3, stream=True)
    chunks = [chunk.choices[0] for chunk in stream]
    astream = await litellm.acompletion(model="house/calc", messages=ASKED, seed=3, stream=True)
    achunks = [chunk.choices[0] async for chunk in astream]
    for pieces in (chunks, achunks):
        texts = [piece.delta.content for piece in pieces if piece.delta.content]
        assert "".join(texts) == whole.choices[0].message.content == WHOLE
        assert len(texts) == 4, "word by word"
        assert pieces[-1].finish_reason == "stop"


async def test_a_stream_tells_its_usage_when_asked(litellm):
    options = {"include_usage": True}
    stream = await litellm.acompletion(model="house/calc", messages=ASKED, stream=True, stream_options=options)
    usages = [chunk.usage async for chunk in stream if getattr(chunk, "usage", None)]
    assert usages[-1].completion_tokens == 4 and usages[-1].prompt_tokens == 5


async def test_max_tokens_cuts_the_reply_and_says_so(litellm):
    reply = await litellm.acompletion(model="house/calc", messages=ASKED, max_tokens=2)
    assert reply.choices[0].message.content.split() == ["Computed", "exactly."]
    assert reply.choices[0].finish_reason == "length" and reply.usage.completion_tokens == 2
    stream = await litellm.acompletion(model="house/calc", messages=ASKED, max_tokens=2, stream=True)
    assert [chunk.choices[0].finish_reason async for chunk in stream][-1] == "length"


def test_stop_ends_the_reply_before_it():
    assert complete("calc", ASKED, {"stop": ["Answer"]}).text == "Computed exactly.\n"


@pytest.mark.parametrize("stop", ["", [""], [], None])
def test_a_stop_that_is_empty_ends_nothing(stop):
    assert complete("calc", ASKED, {"stop": stop}).text == WHOLE


async def test_the_seed_reaches_the_worker(litellm):
    hard = [{"role": "user", "content": "What is 4711 * 3113?"}]
    replies = {
        (await litellm.acompletion(model="house/sage", messages=hard, seed=s)).choices[0].message.content
        for s in range(20)
    }
    assert len(replies) > 1


async def test_an_unknown_worker_is_not_found(litellm):
    with pytest.raises(litellm.NotFoundError, match="nobody"):
        await litellm.acompletion(model="house/nobody", messages=ASKED)


def test_every_call_is_counted_before_its_reply(tmp_path, monkeypatch):
    path = tmp_path / "calls.jsonl"
    monkeypatch.setenv(COUNTER, str(path))
    for seed in (1, 1, 2):
        complete("calc", ASKED, {"seed": seed})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["worker"] for line in lines] == ["calc"] * 3
    assert lines[0] == lines[1] != lines[2]
