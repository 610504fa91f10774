"""Batches of texts of similar length, CPU threads, and a cache of tensors by text."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from cachetools import LRUCache
from threadpoolctl import ThreadpoolController
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

MEMO_BYTES = 1 << 28
"""Default limit of a backbone's cached states: at width 256 and 50 tokens some 5,000 texts under `late`."""


BATCH_TOKENS = {"cpu": 2048, "cuda": 65536}
"""Tokens of a batch, padding included: beyond it a two-core CPU gains nothing (measured, widths 256 and 1,024)."""


def cores(device: torch.device) -> int:
    """Number of forwards that may run in parallel: one per core on a CPU, one on another device."""
    if device.type != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Limit this thread's forwards to `count` threads. `torch.set_num_threads` would also affect threads that start
    later, whose results would then be rounded differently."""
    torch.get_num_threads()  # initialises the thread, which would otherwise undo the limit later
    with _controller().limit(limits=count, user_api="openmp"):
        yield


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices in batches: at most `tokens` with padding, the shortest at least 3/4 of the longest.

    Equal lengths keep their order, so that rows of one text stay adjacent.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[batch[0]] if batch else 0
        if batch and ((len(batch) + 1) * longest > tokens or 4 * lengths[index] < 3 * longest):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class Memo:
    """LRU cache of tensors by text, at most `limit` bytes. Threads may share it.

    Keys are digests of texts: a text may be larger than its tensor, and its length is not bounded.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: LRUCache[tuple[str, bytes], Tensor] = LRUCache(limit, getsizeof=lambda tensor: tensor.nbytes)
        self._lock = threading.Lock()

    def get(self, what: str, text: str) -> Tensor | None:
        with self._lock:
            return self._kept.get(_key(what, text))

    def put(self, what: str, text: str, tensor: Tensor) -> None:
        with self._lock:
            if tensor.nbytes <= self._kept.maxsize:
                self._kept[_key(what, text)] = tensor

    def each(self, what: str, texts: Sequence[str], compute: Callable[[Sequence[str]], list[Tensor]]) -> list[Tensor]:
        """compute(texts), called only for distinct texts that are not cached."""
        known = {text: self.get(what, text) for text in texts}
        missing = [text for text, state in known.items() if state is None]
        for text, state in zip(missing, compute(missing) if missing else (), strict=True):
            known[text] = state
            self.put(what, text, state)
        return [state for state in (known[text] for text in texts) if state is not None]

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()


def _key(what: str, text: str) -> tuple[str, bytes]:
    return what, hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def in_batches(lengths: Sequence[int], tokens: int, run: Callable[[list[int]], Tensor]) -> Tensor:
    """`run(indices [b]) -> [b, width]` over `batches` of at most `tokens`, in order, float32 [B, width]."""
    order, results = [], []
    for chosen in batches(lengths, tokens):
        results.append(run(chosen).float())
        order += chosen
    whole = torch.cat(results)
    return whole[torch.tensor(order, device=whole.device).argsort()]


def padded(rows: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows as one batch [b, T, …], and their last positions [b]."""
    batch = pad_sequence(list(rows), batch_first=True).to(device)
    return batch, torch.tensor([len(row) - 1 for row in rows], device=device)
