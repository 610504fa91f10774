"""What is asked at about the same time is computed in shared forwards: decisions of an endpoint, and candidates.

Requests gather for at most `wait_s`, and while a forward runs. They are then computed by like length, the short
ones first, and each is answered as soon as its own forward is done. Threads and event loops may both ask.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from models.fugu import transcript
from models.fugu.decision import Allowed, Decision
from models.fugu.router import Candidate, Router
from models.workers.ask import Message

Logits = NDArray[np.float32]

WAIT_S = 0.002
"""A small part of a forward of Qwen3-0.6B on any CPU, and about one on a GPU."""


@dataclass(frozen=True)
class _Request:
    """`candidate`: None for the router's installed vector, under which conversations go on."""

    texts: Sequence[str]
    candidate: Candidate | None
    answer: Future[Logits] = field(default_factory=Future)


class MicroBatcher:
    """Asks `router` for many at once. `wait_s`: the most that a request waits for others while nothing runs."""

    def __init__(self, router: Router, wait_s: float = WAIT_S) -> None:
        self.router, self._wait_s = router, wait_s
        self._lock = threading.Lock()
        self._waiting: list[_Request] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="forwards")

    def submit(self, texts: Sequence[str], candidate: Candidate | None = None) -> Future[Logits]:
        """Logits [B, L (+ 3)] of `texts`, for a thread to wait for; under the installed vector by default."""
        request = _Request(list(texts), candidate)
        with self._lock:
            self._waiting.append(request)
            first = len(self._waiting) == 1
        if first:
            self._thread.submit(self._compute, time.monotonic() + self._wait_s)
        return request.answer

    async def logits(self, texts: Sequence[str], candidate: Candidate | None = None) -> Logits:
        """The same, awaited."""
        return await asyncio.wrap_future(self.submit(texts, candidate))

    async def decide(self, messages: Sequence[Message], allowed: Allowed = None) -> Decision:
        """`Router.decide` in a shared forward. Raises as it does."""
        started = time.perf_counter()
        mask, text = self.router.mask(allowed, 1), transcript.text(messages)
        return self.router.decisions(await self.logits([text]), mask, started=started)[0]

    def close(self) -> None:
        """Answer what was asked, then end the thread."""
        self._thread.shutdown()

    def _compute(self, until: float) -> None:
        time.sleep(max(0.0, until - time.monotonic()))
        with self._lock:
            gathered, self._waiting = self._waiting, []
        wanted = [request for request in gathered if request.answer.set_running_or_notify_cancel()]
        for _, requests in groupby(sorted(wanted, key=_kind), key=_kind):
            self._answer(list(requests))

    def _answer(self, requests: Sequence[_Request]) -> None:
        try:
            logits = self._together(requests)
        except Exception as error:
            if len(requests) == 1:
                requests[0].answer.set_exception(error)
                return
            for request in requests:  # one that cannot be computed fails alone
                self._answer([request])
            return
        for request, rows in zip(requests, logits, strict=True):
            request.answer.set_result(rows)

    def _together(self, requests: Sequence[_Request]) -> list[Logits]:
        texts = [text for request in requests for text in request.texts]
        candidates = [request.candidate for request in requests for _ in request.texts if request.candidate is not None]
        logits = self.router.logits_of(texts, candidates) if candidates else self.router.resumed_logits(texts)
        return np.split(logits, np.cumsum([len(request.texts) for request in requests])[:-1])


def _kind(request: _Request) -> tuple[bool, int]:
    """Requests of one kind share a forward: they are within a factor of two of each other's longest text."""
    return request.candidate is None, max((len(text) for text in request.texts), default=0).bit_length()
