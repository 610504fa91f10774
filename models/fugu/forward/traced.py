"""Traced forwards: a small model's decision as one call into TorchScript, which does not hold Python's lock.

A forward of a few megaflops is a few hundred calls into PyTorch, and each of them gives the lock away and waits for it:
beside a busy event loop that is most of a decision's time, and the two take turns instead of a core each. Large models
are not traced: their products are prepacked (`products`), which a trace cannot hold, and take longer than the waiting.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping

import torch
from cachetools import LRUCache
from torch import Tensor

from models.fugu.forward.decoder import Decoder, Map, Seen

KEPT = 4
"""Traces in the LRU cache, at most: one for each router that serves."""

Run = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


class Traced:
    """Forwards of `decoder` for conversations of which nothing is kept. Threads may share it."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder, self._lock = decoder, threading.Lock()
        self._kept: LRUCache[str, Run] = LRUCache(KEPT)

    @torch.no_grad()
    def resume(self, ids: Tensor, read: Tensor, maps: Mapping[str, Map], owner: str) -> tuple[Tensor, list[Seen]]:
        """`Decoder.resume` of ids [B, T] without a past. `owner`: digest of the maps' offsets."""
        with self._lock:
            run = self._kept.get(owner)
            if run is None:
                run = self._kept[owner] = self._trace(ids, read, maps)
        states, *seen = run(ids, read)
        return states, list(zip(seen[::2], seen[1::2], strict=True))

    def _trace(self, ids: Tensor, read: Tensor, maps: Mapping[str, Map]) -> Run:
        def forward(ids: Tensor, read: Tensor) -> tuple[Tensor, ...]:
            states, seen = self._decoder.resume(self._decoder.embed(ids, maps), read, maps, None)
            return states, *(each for pair in seen for each in pair)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, but its successors need a compiler, or Python at each call
            run: Run = torch.jit.trace(forward, (ids, read), check_trace=False)
        return run
