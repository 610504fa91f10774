"""The line in front of a local model: one answer at a time, a bounded number waits, and who leaves is not answered."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

from deployments.local.generation import Ended
from models.errors import RateLimited

Work = Callable[[Callable[[str], None], Event], Ended]
"""Generates an answer, given what each text is said to and what is set when nobody listens any more."""

LONGEST_S = 60.0
"""The longest time that a caller is asked to wait."""

log = logging.getLogger(__name__)


class Turn:
    """An answer that is waited for, or under way. `done`: called on the loop when it is over, with its seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, done: Callable[[float | None], None]) -> None:
        self._loop, self._done, self._said = loop, done, asyncio.Queue[str | Ended | Exception]()
        self.cancelled = Event()
        self.future: Future[None] | None = None

    def say(self, text: str) -> None:
        """From the thread that generates."""
        self._loop.call_soon_threadsafe(self._said.put_nowait, text)

    def end(self, last: Ended | Exception, seconds: float | None) -> None:
        """From the thread that generates. `seconds`: that it took; `None` where nobody listened to its end."""
        self._loop.call_soon_threadsafe(self._over, last, seconds)

    def leave(self) -> None:
        """Nobody listens any more: an answer under way ends with its next token, one that waits leaves the line."""
        self.cancelled.set()
        if self.future is not None and not self.future.cancelled() and self.future.cancel():
            self._over(Ended("cancelled", 0), None)

    async def items(self) -> AsyncIterator[str | Ended]:
        """The texts as they are generated, and at last how it ended. Raises what the generation raised."""
        while True:
            item = await self._said.get()
            if isinstance(item, Exception):
                raise item
            yield item
            if isinstance(item, Ended):
                return

    def _over(self, last: Ended | Exception, seconds: float | None) -> None:
        """Its place is free before its end is known: who asks again at once is let in."""
        self._done(seconds)
        self._said.put_nowait(last)


class Line:
    """`length`: how many may wait behind the one that is answered. Belongs to one event loop."""

    def __init__(self, length: int) -> None:
        self._length, self._inside, self._seconds = length, 0, 1.0
        self._thread = ThreadPoolExecutor(1, "generation")

    def join(self, work: Work) -> Turn:
        """Raises RateLimited, with the seconds after which there should be room, where the line is full."""
        if self._inside > self._length:
            wait = min(max(math.ceil(self._seconds), 1), LONGEST_S)
            raise RateLimited(f"{self._inside} requests are under way or waiting: the line is full", wait)
        turn = Turn(asyncio.get_running_loop(), self._left)
        self._inside += 1
        turn.future = self._thread.submit(self._serve, work, turn)
        return turn

    def _serve(self, work: Work, turn: Turn) -> None:
        began = time.monotonic()
        try:
            ended = work(turn.say, turn.cancelled)
        except Exception as error:
            log.exception("an answer has failed")
            turn.end(error, None)
            return
        seconds = time.monotonic() - began
        reason = ended.finish_reason
        fields = {"finish_reason": reason, "completion_tokens": ended.tokens, "seconds": round(seconds, 3)}
        log.info("answered", extra={"fields": fields})
        turn.end(ended, None if reason == "cancelled" else seconds)

    def _left(self, seconds: float | None) -> None:
        self._inside -= 1
        if seconds is not None:
            self._seconds += 0.2 * (seconds - self._seconds)
