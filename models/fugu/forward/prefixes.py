"""Prefix cache: keys and values of a conversation's earlier tokens, which its next turn reuses.

Entries belong to an owner (the digest of the offsets under which they were computed) and to token ids: texts are
tokenised anew each turn, so what counts is the longest common prefix of tokens, not of characters.
"""

from __future__ import annotations

import threading
from bisect import bisect, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from cachetools import LRUCache
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.fugu.forward.decoder import Past, Seen

Ids = NDArray[np.int64]

PREFIX_BYTES = 1 << 31
"""Default limit of the cached keys and values: some 9,300 tokens of Qwen3-0.6B in float32."""

_MOST = 256
"""Maximum number of cached conversations, however short."""


@dataclass(frozen=True)
class Prefix:
    """Token ids [P], and per layer the keys and values that later tokens need ([P, …] each)."""

    ids: Ids
    seen: tuple[Seen, ...]

    def common(self, ids: Ids) -> int:
        """Length of the common prefix with `ids`."""
        length = min(len(self.ids), len(ids))
        different = np.flatnonzero(self.ids[:length] != ids[:length])
        return int(different[0]) if len(different) else length

    def cut(self, length: int) -> Prefix:
        return Prefix(self.ids[:length], tuple((keys[:length], values[:length]) for keys, values in self.seen))


_Key = tuple[str, bytes]


class _Kept(LRUCache[_Key, Prefix]):
    """The cached prefixes, and their keys in order: what a key has most in common with is beside it."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit, lambda prefix: max(_size(prefix), limit // _MOST))
        self.order: list[_Key] = []

    def __setitem__(self, key: _Key, prefix: Prefix, *more: Any) -> None:
        new = key not in self
        super().__setitem__(key, prefix, *more)
        if new:
            insort(self.order, key)

    def __delitem__(self, key: _Key, *more: Any) -> None:
        super().__delitem__(key, *more)
        del self.order[bisect(self.order, key) - 1]

    def clear(self) -> None:
        super().clear()
        self.order.clear()


class Prefixes:
    """LRU cache of conversations, at most `limit` bytes. Threads may share it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept = _Kept(limit)
        self._lock = threading.Lock()

    def longest(self, owner: str, ids: Ids) -> Prefix | None:
        """The longest cached prefix of `ids` without its last token, whose state is read and must be computed."""
        with self._lock:
            place = bisect(self._kept.order, (owner, ids[:-1].tobytes()))
            beside = [key for key in self._kept.order[max(0, place - 1) : place + 1] if key[0] == owner]
            known = [(self._kept[key].common(ids[:-1]), key) for key in beside]
            length, key = max(known, default=(0, None))
            return self._kept[key].cut(length) if key is not None and length else None

    def keep(self, owner: str, prefix: Prefix) -> None:
        """Store a prefix and drop those that it extends."""
        key, size = (owner, prefix.ids.tobytes()), max(_size(prefix), int(self._kept.maxsize) // _MOST)
        with self._lock:
            order = self._kept.order  # what it extends comes just before it
            while (at := bisect(order, key)) and order[at - 1][0] == owner and key[1].startswith(order[at - 1][1]):
                del self._kept[order[at - 1]]
            if size <= self._kept.maxsize:
                self._kept[key] = prefix

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()


def past_of(prefixes: Sequence[Prefix | None], device: torch.device) -> Past | None:
    """The prefixes of a batch, padded on the left to one length; None if no text has one."""
    lengths = torch.tensor([0 if prefix is None else len(prefix.ids) for prefix in prefixes], device=device)
    some = next((prefix for prefix in prefixes if prefix is not None), None)
    if some is None:
        return None
    if len(prefixes) == 1:
        return Past([(keys[None], values[None]) for keys, values in some.seen], lengths)
    parts = [some.cut(0) if prefix is None else prefix for prefix in prefixes]
    layers = zip(*(prefix.seen for prefix in parts), strict=True)
    return Past([(_left([k for k, _ in layer]), _left([v for _, v in layer])) for layer in layers], lengths)


def prefix_of(ids: Ids, seen: Sequence[Seen], row: int, before: int) -> Prefix:
    """The prefix of row `row` of a run, whose tokens begin after `before` positions of padding."""
    here = slice(before, before + len(ids))
    alone = len(seen[0][0]) == 1  # then a view keeps no other text's tensors alive
    rows = ((keys[row, here], values[row, here]) for keys, values in seen)
    return Prefix(ids, tuple((k, v) if alone else (k.clone(), v.clone()) for k, v in rows))


def _left(rows: list[Tensor]) -> Tensor:
    return pad_sequence(rows, batch_first=True, padding_side="left")


def _size(prefix: Prefix) -> int:
    return sum(keys.nbytes + values.nbytes for keys, values in prefix.seen)
