"""Checks of a conductor: the gate before GRPO (`readiness`) and the watch after it (`modes`).

The gate: GRPO learns only from completions that parse and from groups whose rewards differ, so both need a minimal
share. The watch: each failure mode has one figure, higher is worse, and a bound. A mode is reported if its figure
exceeds the bound and is worse than before: faults of the cold start are not caused by the training.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.conductor.learn.practice import Sample, in_groups, mixed, rewards_of

PARSED, MIXED = 0.8, 0.25
"""Bounds of `Readiness`: shares of parsed completions and of groups with mixed rewards."""


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
        """Why GRPO may start, or not."""
        missed = [
            f"{name} {value:.0%} is below {bound:.0%}"
            for name, value, bound in (
                ("parsed completions", self.parsed, PARSED),
                ("groups with mixed rewards", self.mixed, MIXED),
            )
            if value < bound
        ]
        found = f"{self.parsed:.0%} of {self.samples} completions parse, {self.mixed:.0%} of {self.groups} groups mixed"
        return f"not ready for GRPO: {' and '.join(missed)}" if missed else f"ready for GRPO: {found}"


def readiness(samples: Sequence[Sample]) -> Readiness:
    """The readiness of groups sampled as GRPO will. A group that outages left with one reward counts as not mixed."""
    groups, rewards = in_groups(samples), rewards_of(samples)
    return Readiness(
        parsed=float(np.mean([sample.workflow is not None for sample in samples])) if samples else 0.0,
        mixed=float(np.mean([mixed(group) for group in groups])) if groups else 0.0,
        reward=float(np.mean(rewards)) if rewards else 0.0,
        samples=len(samples),
        groups=len(groups),
    )


@dataclass(frozen=True)
class Mode:
    """A failure mode. `figure`: what is measured, in words. `before`, `after`: NaN if the samples cannot show it."""

    name: str
    figure: str
    before: float
    after: float
    bound: float

    @property
    def seen(self) -> bool:
        return self.after > self.bound and not self.after <= self.before

    @property
    def line(self) -> str:
        shown = ["–" if math.isnan(value) else f"{value:.3f}" for value in (self.before, self.after)]
        return f"{self.name}: {self.figure} {shown[0]} before, {shown[1]} after (bound {self.bound:g})"


def modes(before: Sequence[Sample], after: Sequence[Sample]) -> list[Mode]:
    """The five failure modes, from plans sampled for the same exercises."""
    shortest = _shortest([*before, *after])
    measures: Sequence[tuple[str, str, Callable[[Sequence[Sample]], float], float]] = (
        (
            "collapse onto one worker",
            "the largest share of a worker in the steps where it was offered",
            _collapse,
            0.8,
        ),
        (
            "one-step passthrough",
            "share of one-step plans where only longer ones were right",
            lambda samples: _passthrough(samples, shortest),
            0.5,
        ),
        (
            "over-orchestration",
            "steps beyond the shortest right plan",
            lambda samples: _excess(samples, shortest),
            0.5,
        ),
        ("memorised ordinals", "distance of the asked ordinals from chance", _ordinals, 0.15),
        ("format drift", "share of plans that cannot be run", _faulty, 0.05),
    )
    return [Mode(name, figure, measure(before), measure(after), bound) for name, figure, measure, bound in measures]


def _shortest(samples: Sequence[Sample]) -> dict[str, int]:
    """Question -> number of steps of its shortest right plan, if there is one."""
    found: dict[str, list[int]] = defaultdict(list)
    for sample in samples:
        if sample.score == 1.0 and sample.asked:
            found[sample.exercise.question].append(len(sample.asked))
    return {question: min(lengths) for question, lengths in found.items()}


def _collapse(samples: Sequence[Sample]) -> float:
    """Counted where a worker is offered: with random pools its share of all steps stays small, whatever is learnt."""
    asked: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    for sample in samples:
        if len(sample.exercise.offered) > 1:
            asked.update(sample.asked)
            steps.update(dict.fromkeys(sample.exercise.offered, len(sample.asked)))
    return max((count / steps[name] for name, count in asked.items()), default=math.nan)


def _passthrough(samples: Sequence[Sample], shortest: Mapping[str, int]) -> float:
    return _mean([len(s.asked) == 1 for s in samples if s.asked and shortest.get(s.exercise.question, 0) > 1])


def _excess(samples: Sequence[Sample], shortest: Mapping[str, int]) -> float:
    """Mean steps beyond the shortest right plan; shorter plans, which are wrong, count as 0."""
    known = [sample for sample in samples if sample.asked and sample.exercise.question in shortest]
    return _mean([max(0, len(sample.asked) - shortest[sample.exercise.question]) for sample in known])


def _ordinals(samples: Sequence[Sample]) -> float:
    """Total variation between the ordinals that were asked and equal chances among those offered.

    NaN for fixed ordinals: these identify workers, so asking some of them more often is no fault.
    """
    asked: Counter[int] = Counter()
    chance: dict[int, float] = defaultdict(float)
    for sample in samples:
        if not sample.asked or sample.workflow is None:
            continue
        offered = sample.exercise.ordinals
        for step in sample.workflow.steps:
            asked[step.model] += 1
            for ordinal in offered:
                chance[ordinal] += 1 / len(offered)
    if not asked or not _shuffled(samples):
        return math.nan
    return sum(abs(asked[ordinal] - expected) for ordinal, expected in chance.items()) / (2 * asked.total())


def _shuffled(samples: Sequence[Sample]) -> bool:
    """Whether a worker has several ordinals."""
    known: dict[str, set[int]] = defaultdict(set)
    for sample in samples:
        for ordinal, name in enumerate(sample.exercise.workers):
            known[name].add(ordinal)
    return any(len(ordinals) > 1 for ordinals in known.values())


def _faulty(samples: Sequence[Sample]) -> float:
    return _mean([bool(sample.fault) for sample in samples])


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
