"""A running answer's deltas: what a worker sends at once reaches the client piece by piece, the first without delay."""

from __future__ import annotations

import asyncio

from deployments.endpoint.answer.result import Result, Text
from deployments.endpoint.wire.streaming import Feed
from models.workers.ask import Usage

RESULT = Result("one two three", (), "stop", Usage())


def test_the_first_delta_is_sent_before_the_answer_goes_on():
    emitted = []

    async def make(emit):
        for word in ("one", " two", " three"):
            emitted.append(word)
            await emit(Text(word))
        return RESULT

    async def read():
        feed = Feed(make)
        first = await feed.get(5.0)
        for _ in range(10):
            await asyncio.sleep(0)  # the answer could go on here
        before = list(emitted)
        rest = [await feed.get(5.0) for _ in range(3)]
        assert not feed.waits
        return first, before, rest

    first, before, rest = asyncio.run(read())
    assert first == Text("one") and before == ["one"]
    assert rest == [Text(" two"), Text(" three"), RESULT]


def test_an_answer_whose_first_delta_nobody_takes_is_cancelled():
    ended = []

    async def make(emit):
        try:
            await emit(Text("one"))
        finally:
            ended.append(True)
        raise AssertionError("it went on")

    async def leave():
        feed = Feed(make)
        await feed.get(5.0)
        await feed.close()

    asyncio.run(leave())
    assert ended == [True]
