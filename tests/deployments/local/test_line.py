"""The line in front of a local model, with answers that end when the test says so."""

from __future__ import annotations

from threading import Event

import pytest

from deployments.local.generation import Ended
from deployments.local.line import Line
from models.errors import RateLimited


class Answering:
    """Answers of one word each, in the order in which they were begun; each waits for `go`, or to be cancelled."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go = Event()

    def of(self, word: str):
        def work(say, cancelled):
            self.begun.append(word)
            say(word)
            while not self.go.wait(0.01):
                if cancelled.is_set():
                    return Ended("cancelled", 1)
            return Ended("stop", 1)

        return work


async def all_of(turn):
    return [item async for item in turn.items()]


async def test_one_is_answered_at_a_time_and_one_too_many_is_told_when_to_come_back():
    line, answering = Line(2), Answering()
    turns = [line.join(answering.of(word)) for word in "abc"]
    first = await anext(turns[0].items())
    with pytest.raises(RateLimited) as full:
        line.join(answering.of("d"))
    assert first == "a" and answering.begun == ["a"]
    assert full.value.retry_after == 1
    answering.go.set()
    assert await all_of(turns[0]) == [Ended("stop", 1)]
    assert await all_of(turns[1]) == ["b", Ended("stop", 1)]
    assert await all_of(turns[2]) == ["c", Ended("stop", 1)]
    assert answering.begun == ["a", "b", "c"]


async def test_who_leaves_the_line_is_never_answered_and_makes_room():
    line, answering = Line(1), Answering()
    first, second = line.join(answering.of("a")), line.join(answering.of("b"))
    await anext(first.items())
    second.leave()
    assert await all_of(second) == [Ended("cancelled", 0)]
    third = line.join(answering.of("c"))
    first.leave()
    assert await all_of(first) == [Ended("cancelled", 1)]
    answering.go.set()
    assert await all_of(third) == ["c", Ended("stop", 1)]
    assert answering.begun == ["a", "c"]


async def test_a_fault_reaches_who_waits_and_the_next_one_is_answered():
    line, answering = Line(1), Answering()

    def fails(say, cancelled):
        raise MemoryError("too little")

    answering.go.set()
    failed, good = line.join(fails), line.join(answering.of("b"))
    with pytest.raises(MemoryError):
        await all_of(failed)
    assert await all_of(good) == ["b", Ended("stop", 1)]
