"""The gate between cold start and GRPO: without legal plans and without differing rewards there is no gradient.

Bounds: REFERENCE E5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.conductor.practice import Sample, in_groups, mixed, rewards_of

PARSED, MIXED = 0.8, 0.25


@dataclass(frozen=True)
class Readiness:
    """`parsed`: share of completions; `mixed`: share of groups whose rewards differ; `reward`: mean of the samples."""

    parsed: float
    mixed: float
    reward: float
    samples: int
    groups: int

    @property
    def ready(self) -> bool:
        return self.parsed >= PARSED and self.mixed >= MIXED

    @property
    def line(self) -> str:
        """Why it may go on, or not."""
        missed = [
            f"{name} {value:.0%} is below {bound:.0%}"
            for name, value, bound in (
                ("parsed completions", self.parsed, PARSED),
                ("groups with mixed rewards", self.mixed, MIXED),
            )
            if value < bound
        ]
        told = f"{self.parsed:.0%} of {self.samples} completions parse, {self.mixed:.0%} of {self.groups} groups mixed"
        return f"not ready for GRPO: {' and '.join(missed)}" if missed else f"ready for GRPO: {told}"


def readiness(samples: Sequence[Sample]) -> Readiness:
    """Of groups sampled as GRPO will sample them. A group that outages left with one reward counts as not mixed."""
    groups, rewards = in_groups(samples), rewards_of(samples)
    return Readiness(
        parsed=float(np.mean([sample.workflow is not None for sample in samples])) if samples else 0.0,
        mixed=float(np.mean([mixed(group) for group in groups])) if groups else 0.0,
        reward=float(np.mean(rewards)) if rewards else 0.0,
        samples=len(samples),
        groups=len(groups),
    )
