"""CUDA graphs: a decision's forward is replayed, since launching its some 400 kernels takes longer than running them.

A graph is captured per shape. Texts are padded to the length of a bucket and batches to a power of two: under causal
attention no position that is read sees the padding, and surplus rows are dropped. Large batches keep the GPU busy and
are run without a graph.

Off unless `Backbone` is given `graphs=True` (FUGU_CUDA_GRAPHS): it was tested on a CPU, where a "graph" is the plain
forward, and has not been run or measured on a GPU yet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from cachetools import LRUCache
from torch import Tensor

from models.fugu.forward.decoder import Decoder, Map

LENGTHS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
"""Lengths of the buckets in tokens: at most half of a forward is padding, a quarter on average."""

MOST_TOKENS = 8192
"""Tokens of a captured batch, at most: beyond it launching is a small part of a forward."""

KEPT = 96
"""Graphs in the LRU cache, at most: all shapes of one router, and room for the next router's."""


@dataclass(frozen=True)
class Graph:
    """The tensors that a replay reads and writes: ids [B, T], positions [B] -> states [B, width].

    `maps`: kept alive, because a replay reads their tensors by address. Their router may be gone by then: another one
    with the same offsets replays the same graph.
    """

    ids: Tensor
    read: Tensor
    maps: Mapping[str, Map]
    states: Tensor
    replay: Callable[[], object]


class Graphs:
    """Captured forwards of `decoder`, from the first layer on. Threads may share it."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder, self._lock = decoder, threading.Lock()
        self._kept: LRUCache[tuple[str, int, int], Graph] = LRUCache(KEPT)
        self._pool: Any = None

    @torch.no_grad()
    def run(self, rows: Sequence[Tensor], maps: Mapping[str, Map], owner: str) -> Tensor:
        """The states [b, width] at the last token of each of `rows` ([T] ids). `owner`: digest of the maps' offsets."""
        shape = shape_of(rows)
        batch, length = shape or (len(rows), max(len(row) for row in rows))
        device = self._decoder.device
        ids, read = torch.zeros(batch, length, dtype=torch.long), torch.zeros(batch, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)], read[i] = row, len(row) - 1
        if shape is None:
            return self._forward(ids.to(device), read.to(device), maps)
        with self._lock:
            graph = self._kept.get((owner, batch, length))
            if graph is None:
                graph = self._kept[owner, batch, length] = self._captured(ids.to(device), read.to(device), maps)
            graph.ids.copy_(ids)
            graph.read.copy_(read)
            graph.replay()
            return graph.states[: len(rows)].clone()

    def _forward(self, ids: Tensor, read: Tensor, maps: Mapping[str, Map]) -> Tensor:
        return self._decoder.upper(self._decoder.embed(ids, maps), read, maps, 0)

    def _captured(self, ids: Tensor, read: Tensor, maps: Mapping[str, Map]) -> Graph:
        return Graph(ids, read, maps, *self._recorded(lambda: self._forward(ids, read, maps)))

    def _recorded(self, forward: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], object]]:
        """The result of `forward`, and a function that computes it again into the same tensor."""
        states = forward()
        if states.device.type != "cuda":
            return states, lambda: states.copy_(forward())
        # Lazy initialisation must happen before the capture: warm up on a side stream, as capturing requires.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                forward()
        torch.cuda.current_stream().wait_stream(side)
        # One memory pool for all: graphs are replayed one at a time, and results are copied out immediately.
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            states = forward()
        return states, graph.replay


def shape_of(rows: Sequence[Tensor]) -> tuple[int, int] | None:
    """The (texts, tokens) of the bucket of `rows`, or None if they are run without a graph."""
    longest, batch = max(len(row) for row in rows), 1 << (len(rows) - 1).bit_length()
    length = next((length for length in LENGTHS if length >= longest), MOST_TOKENS + 1)
    return (batch, length) if batch * length <= MOST_TOKENS else None
