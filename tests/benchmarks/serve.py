"""How fast does an endpoint decide? Latency of one decision, and decisions per second of many at once.

Through the micro-batcher, as the endpoint decides, on fresh conversations of 512 tokens under a folded `released`
vector. On CUDA the backbone has Qwen3-0.6B's shape, decides in bfloat16 and replays graphs; on a CPU it has two of its
layers and 128 tokens are read, and the figures say how sharing forwards compares with every decision on its own, one
thread of the event loop's pool each. There is no bound in milliseconds for a CPU.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import torch
from qwen import WORKERS, backbone, card, device, transcript, vector
from reporting import report

from models.fugu.microbatch import MicroBatcher
from models.fugu.router import Router
from models.workers.ask import Message

CUDA = device() == "cuda"
TOKENS = 512 if CUDA else 128
ALONE, CONCURRENT, ROUNDS = (200, 64, 20) if CUDA else (15, 64, 3)

Decide = Callable[[Sequence[Message]], Awaitable[object]]


class Fresh:
    """Conversations that nobody has seen."""

    def __init__(self) -> None:
        self._seed = 0

    def some(self, count: int) -> list[list[Message]]:
        self._seed += count
        texts = [transcript(TOKENS - 1, self._seed + number) for number in range(count)]
        return [[{"role": "w1", "content": text}] for text in texts]


async def alone(decide: Decide, conversations: Sequence[Sequence[Message]]) -> list[float]:
    """Seconds of each, one after the other."""
    seconds = []
    for messages in conversations:
        started = time.perf_counter()
        await decide(messages)
        seconds.append(time.perf_counter() - started)
    return seconds


async def together(decide: Decide, conversations: Sequence[Sequence[Message]]) -> float:
    """Seconds of all of them at once."""
    started = time.perf_counter()
    await asyncio.gather(*(decide(messages) for messages in conversations))
    return time.perf_counter() - started


async def measure() -> None:
    model = backbone(layers=28 if CUDA else 2)
    router = Router(model, vector(model, "released"), WORKERS)
    router.fold()
    batcher, fresh = MicroBatcher(router), Fresh()
    ways: dict[str, Decide] = {
        "batched": batcher.decide,
        "plain": lambda messages: asyncio.to_thread(router.decide, messages),
    }
    for decide in ways.values():  # lays out matrices, captures graphs
        for count in (1, CONCURRENT, CONCURRENT):
            await together(decide, fresh.some(count))
        await alone(decide, fresh.some(2))
    single: dict[str, list[float]] = {name: [] for name in ways}
    many: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name in sorted(ways, reverse=number % 2 == 1):
            single[name] += await alone(ways[name], fresh.some(ALONE // ROUNDS))
            many[name].append(await together(ways[name], fresh.some(CONCURRENT)))
    batcher.close()
    p50, p99 = (float(np.quantile(single["batched"], q)) for q in (0.5, 0.99))
    seconds = {name: statistics.median(each) for name, each in many.items()}
    print(f"{card()}: {TOKENS} tokens, {model.layer_count} layers, {str(model.model.dtype).removeprefix('torch.')}")
    for name in ways:
        print(f"{name}: alone {1e3 * statistics.median(single[name]):.2f} ms, {CONCURRENT} in {seconds[name]:.3f} s")
    figures = {
        "p50_ms": 1e3 * p50,
        "p99_ms": 1e3 * p99,
        "decisions_per_second": CONCURRENT / seconds["batched"],
        "alone_over_plain": p50 / statistics.median(single["plain"]),
        "together_over_plain": seconds["batched"] / seconds["plain"],
    }
    cuda = {"p50_ms": ("<=", 3.0), "decisions_per_second": (">=", 2000.0)} if CUDA else {}
    report("serve", figures, cuda | {"alone_over_plain": ("<=", 1.1), "together_over_plain": ("<=", 1.1)})


if __name__ == "__main__":
    with torch.inference_mode():
        asyncio.run(measure())
