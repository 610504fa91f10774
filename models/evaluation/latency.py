"""How long one decision takes, one question at a time, on the machine that runs this."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

TITLE = "Latency of one decision, one question at a time, on this machine"

MOST = 50
"""Questions at most; the first few, which find nothing prepared, are not counted."""
FIRST = 3

Asked = TypeVar("Asked")


@dataclass(frozen=True)
class Latency:
    """Quantiles of `questions` decisions in milliseconds. `device`: what computes; `cpus`: of this machine."""

    questions: int
    p50: float
    p95: float
    device: str
    cpus: int

    @property
    def row(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return {
            "n": self.questions,
            "p50_ms": self.p50,
            "p95_ms": self.p95,
            "device": self.device,
            "cpus": self.cpus,
        }

    @property
    def told(self) -> dict[str, str]:
        """The figures for a person, by name."""
        figures = {"p50": f"{self.p50:.1f} ms", "p95": f"{self.p95:.1f} ms"}
        return {"questions": str(self.questions), **figures, "machine": f"{self.device}, {self.cpus} CPUs"}


def latency(decide: Callable[[Asked], object], asked: Sequence[Asked], device: str) -> Latency | None:
    """Of decisions on `asked`, which no cache should know yet; None where there are too few to count any."""
    seconds = []
    for each in asked[: MOST + FIRST]:
        started = time.perf_counter()
        decide(each)
        seconds.append(time.perf_counter() - started)
    if len(seconds) <= FIRST:
        return None
    p50, p95 = (1000 * np.percentile(seconds[FIRST:], [50, 95])).tolist()
    return Latency(len(seconds) - FIRST, p50, p95, device, os.cpu_count() or 1)
