"""Intervals over several seeds, and how the studies and benchmarks print a gain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics import Interval, interval


def over_seeds(gaps: NDArray[np.float64], resamples: int = 4000, seed: int = 0) -> Interval:
    """The mean of gaps [seeds, Q] with its hierarchical interval: seeds are resampled, and questions inside.

    The questions are the same for every seed, and a resample draws the same ones for all.
    """
    seeds, n = gaps.shape
    draws = np.random.default_rng(seed)
    means = np.empty(resamples)
    for i in range(resamples):
        runs = np.bincount(draws.integers(seeds, size=seeds), minlength=seeds)
        rows = np.bincount(draws.integers(n, size=n), minlength=n)
        means[i] = runs @ gaps @ rows / (seeds * n)
    return interval(float(gaps.mean()), means)


def shown(gain: Interval) -> str:
    """A gain with its interval."""
    return f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
