"""Micro-batches: concurrent requests share forwards, an endpoint's decisions as well as candidates in training.

Requests queue while a forward runs; if the last pass had several, they wait up to `wait_s` longer for more, a lone
request does not. A pass groups them by similar length, short ones first, and answers each as soon as its forward is
done. On a CPU several forwards run in parallel, each on a part of the cores: a single one on all cores would wait for
the slowest core again and again. A pass of little work is one forward on one core. Texts are divided among forwards,
not requests: all requests for a text are in one, so that what its candidates have in common is computed once. Threads
and event loops may both submit.

Long texts have a queue of their own: a thread computes them on half of the cores, in parallel with the short ones,
which therefore never wait for a long one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from models.fugu import transcript
from models.fugu.decision import Allowed, Decision
from models.fugu.forward.batches import cores, threads
from models.fugu.router import Candidate, Router
from models.workers.ask import TOKEN_BYTES, Message

Logits = NDArray[np.float32]
Row = tuple[str, Candidate | None]
"""A text and its candidate; None: the router's installed vector, for which cached keys and values are reused."""

WAIT_S = 0.002
"""A small part of the time of a forward of Qwen3-0.6B on any CPU, and about one forward on a GPU."""

PATIENT = 4
"""Times `wait_s`: a pass that takes less is mostly what each pass takes, so that waiting as long saves one."""

GATHERED = 1 << 18
"""Characters of distinct texts in one pass, to bound its memory: under `late` 4 KB per token at width 1,024, so some
250 MB. A single request may be larger."""


LANE_FLOPS = 2e9
"""The least work that is worth a lane or a thread of its own: some 30 ms of a core. A smaller forward is mostly the
overhead of its calls, which each lane repeats, and whose threads wait for one another, computing."""

LONG = 1 << 13
"""Characters from which a text counts as long: some 2,000 tokens."""


@dataclass(frozen=True)
class _Request:
    """`by`: who computes it. Only what waits refers to it: with nothing left to do it goes as soon as nobody has it."""

    texts: Sequence[str]
    candidate: Candidate | None
    by: MicroBatcher
    answer: Future[Logits] = field(default_factory=Future)

    @property
    def rows(self) -> list[Row]:
        return [(text, self.candidate) for text in self.texts]

    @property
    def longest(self) -> int:
        return max(map(len, self.texts), default=0)


class _Queue:
    """A queue with one thread, which passes all waiting requests to `compute` whenever it is free.

    `wait_s`: longest wait for further requests while nothing runs, if the last pass had several; as long as the
    last pass took, where that was at most `PATIENT` times `wait_s`.
    """

    def __init__(self, name: str, wait_s: float, compute: Callable[[MicroBatcher, Sequence[_Request]], None]) -> None:
        self._compute, self._least_s, self._wait_s = compute, wait_s, wait_s
        self._lock = threading.Lock()
        self._waiting: list[_Request] = []
        self._several = True
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self.busy = False

    def put(self, request: _Request) -> None:
        with self._lock:
            self._waiting.append(request)
            first = len(self._waiting) == 1
        if first:
            self._thread.submit(self._run, time.monotonic() + (self._wait_s if self._several else 0.0))

    def close(self) -> None:
        """Answer the waiting requests, then end the thread."""
        self._thread.shutdown()

    def _run(self, until: float) -> None:
        time.sleep(max(0.0, until - time.monotonic()))
        with self._lock:
            gathered, self._waiting = self._waiting, []
        self._several = len(gathered) > 1
        self.busy, began = True, time.monotonic()
        self._compute(gathered[0].by, [each for each in gathered if each.answer.set_running_or_notify_cancel()])
        self.busy, took = False, time.monotonic() - began
        self._wait_s = max(took, self._least_s) if took <= PATIENT * self._least_s else self._least_s


class MicroBatcher:
    """Computes `router`'s logits for concurrent callers. `wait_s`: longest wait of a request for others while nothing
    runs, if the last pass had several."""

    def __init__(self, router: Router, wait_s: float = WAIT_S) -> None:
        self.router = router
        self._cores = cores(router.backbone.device)
        self._lanes = ThreadPoolExecutor(self._cores, thread_name_prefix="lane")
        self._char_flops = router.backbone.token_flops / TOKEN_BYTES
        self._short = _Queue("forwards", wait_s, lambda by, some: by._compute(some, by._left))
        self._long = _Queue("long forwards", wait_s, lambda by, some: by._compute(some, lambda: by._half))

    @property
    def workers(self) -> tuple[str, ...]:
        """The router's workers."""
        return self.router.workers

    @property
    def roles(self) -> bool:
        """Whether the router decides on roles."""
        return self.router.roles

    @property
    def released(self) -> str | None:
        """The released router's dispatcher prompt, if this is it."""
        return self.router.released

    def submit(self, texts: Sequence[str], candidate: Candidate | None = None) -> Future[Logits]:
        """Logits [B, L (+ 3)] of `texts` as a future, under the installed vector by default."""
        request = _Request([self.router.backbone.reader.text(text) for text in texts], candidate, self)
        (self._long if request.longest >= LONG else self._short).put(request)
        return request.answer

    async def logits(self, texts: Sequence[str], candidate: Candidate | None = None) -> Logits:
        """`submit`, awaited."""
        return await asyncio.wrap_future(self.submit(texts, candidate))

    async def decide(self, messages: Sequence[Message], allowed: Allowed = None) -> Decision:
        """`Router.decide` in a shared forward. Raises as it does."""
        started = time.perf_counter()
        mask, text = self.router.mask(allowed, 1), transcript.text(messages)
        return self.router.decisions(await self.logits([text]), mask, started=started)[0]

    def close(self) -> None:
        """Answer the waiting requests, then end the threads."""
        self._short.close()
        self._long.close()
        self._lanes.shutdown()

    @property
    def _half(self) -> int:
        """Number of cores for long texts."""
        return max(1, self._cores // 2)

    def _left(self) -> int:
        """Number of cores for short texts."""
        return max(1, self._cores - self._half) if self._long.busy else self._cores

    def _compute(self, wanted: Sequence[_Request], share: Callable[[], int]) -> None:
        """Compute requests pass by pass; `share` gives the number of cores, before each pass."""
        for _, requests in groupby(sorted(wanted, key=_kind), key=_kind):
            for some in _bounded(requests):
                self._answer(some, share())

    def _answer(self, requests: Sequence[_Request], cores: int) -> None:
        try:
            logits = self._together(requests, cores)
        except Exception as error:
            if len(requests) == 1:
                requests[0].answer.set_exception(error)
                return
            for request in requests:  # one by one: a request that cannot be computed fails alone
                self._answer([request], cores)
            return
        for request, rows in zip(requests, logits, strict=True):
            request.answer.set_result(rows)

    def _together(self, requests: Sequence[_Request], cores: int) -> list[Logits]:
        rows = [row for request in requests for row in request.rows]
        worth = int(self._char_flops * sum(len(text) for text, _ in rows) / LANE_FLOPS)
        cores = max(1, min(cores, worth))
        lanes = _lanes([text for text, _ in rows], cores)
        if len(lanes) == 1:
            logits = self._forward(rows) if cores == self._cores else self._in_lane(rows, cores)
        else:
            each = cores // len(lanes)
            parts = [self._lanes.submit(self._in_lane, [rows[i] for i in lane], each) for lane in lanes]
            wait(parts)  # even if one has failed: passes must not overlap
            logits = np.concatenate([part.result() for part in parts])[np.argsort(np.concatenate(lanes))]
        return np.split(logits, np.cumsum([len(request.texts) for request in requests])[:-1])

    def _in_lane(self, rows: Sequence[Row], cores: int) -> Logits:
        with threads(cores):
            return self._forward(rows)

    def _forward(self, rows: Sequence[Row]) -> Logits:
        texts = [text for text, _ in rows]
        candidates = [candidate for _, candidate in rows if candidate is not None]
        return self.router.logits_of(texts, candidates) if candidates else self.router.resumed_logits(texts)


def _kind(request: _Request) -> tuple[bool, int]:
    """Requests of one kind share a forward: their longest texts are within a factor of two of each other."""
    return request.candidate is None, request.longest.bit_length()


def _lanes(texts: Sequence[str], most: int) -> list[list[int]]:
    """The indices of `texts` in 1 to `most` lanes of similar work; equal texts are in the same lane."""
    counts = Counter(texts)
    work = [0] * max(1, min(most, len(counts)))
    lane_of: dict[str, int] = {}
    for text in sorted(counts, key=lambda text: -counts[text] * len(text)):
        lane_of[text] = lane = work.index(min(work))
        work[lane] += counts[text] * max(1, len(text))
    return [[i for i, text in enumerate(texts) if lane_of[text] == lane] for lane in range(len(work))]


def _bounded(requests: Iterable[_Request]) -> Iterator[list[_Request]]:
    """Requests in passes of at most `GATHERED` characters; equal texts count once."""
    some, texts, size = list[_Request](), set[str](), 0
    for request in requests:
        more = sum(len(text) for text in set(request.texts) - texts)
        if some and size + more > GATHERED:
            yield some
            some, texts, size = [], set(), 0
            more = sum(map(len, set(request.texts)))
        some.append(request)
        texts.update(request.texts)
        size += more
    if some:
        yield some
