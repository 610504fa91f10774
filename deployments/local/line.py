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
    """An answer that is waited for, or under way."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._said = loop, asyncio.Queue[str | Ended | Exception]()
        self.cancelled = Event()
        self.future: Future[float | None] | None = None

    def put(self, item: str | Ended | Exception) -> None:
        """From the thread that generates."""
        self._loop.call_soon_threadsafe(self._said.put_nowait, item)

    def leave(self) -> None:
        """Nobody listens any more: an answer under way ends with its next token, one that waits leaves the line."""
        self.cancelled.set()
        if self.future is not None and self.future.cancel():
            self._said.put_nowait(Ended("cancelled", 0))

    async def items(self) -> AsyncIterator[str | Ended]:
        """The texts as they are generated, and at last how it ended. Raises what the generation raised."""
        while True:
            item = await self._said.get()
            if isinstance(item, Exception):
                raise item
            yield item
            if isinstance(item, Ended):
                return


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
        loop = asyncio.get_running_loop()
        turn = Turn(loop)
        self._inside += 1
        turn.future = self._thread.submit(self._serve, work, turn)
        turn.future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._left, done))
        return turn

    def _serve(self, work: Work, turn: Turn) -> float | None:
        """Returns the seconds that the answer took, `None` where nobody listened to its end."""
        began = time.monotonic()
        try:
            ended = work(turn.put, turn.cancelled)
            seconds = round(time.monotonic() - began, 3)
            fields = {"finish_reason": ended.finish_reason, "completion_tokens": ended.tokens, "seconds": seconds}
            log.info("answered", extra={"fields": fields})
            turn.put(ended)
        except Exception as error:
            log.exception("an answer has failed")
            turn.put(error)
        return None if turn.cancelled.is_set() else time.monotonic() - began

    def _left(self, done: Future[float | None]) -> None:
        self._inside -= 1
        if not done.cancelled() and (seconds := done.result()) is not None:
            self._seconds += 0.2 * (seconds - self._seconds)
