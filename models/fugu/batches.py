"""Texts in batches of like length, and what is remembered of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from cachetools import LRUCache
from torch import Tensor

MEMO_BYTES = 1 << 28
"""Bound of the states that a backbone remembers: at width 256 and 50 tokens some 5,000 texts under `late`."""


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices in batches: at most `tokens` with padding, the shortest at least 3/4 of the longest.

    Equal lengths keep their order, so that what belongs together stays together.
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
    """The most recently used tensors, at most `limit` bytes of them. Threads may share it."""

    def __init__(self, limit: int) -> None:
        self._kept: LRUCache[tuple[str, str], Tensor] = LRUCache(limit, getsizeof=lambda tensor: tensor.nbytes)
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str]) -> Tensor | None:
        with self._lock:
            return self._kept.get(key)

    def put(self, key: tuple[str, str], tensor: Tensor) -> None:
        with self._lock:
            if tensor.nbytes <= self._kept.maxsize:
                self._kept[key] = tensor

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
