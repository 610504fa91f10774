"""The gate that a router must pass before it serves (ARCHITECTURE, decision 7).

It must be better than the champion and the best single worker, and not inferior to kNN and the task table; a comparison
that lacks a number fails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from models.evaluation.baselines import BEST_SINGLE, KNN, TASK_PREDICTED
from models.evaluation.metrics import Entry, Interval, difference

MARGIN = 0.01
"""How far below zero the lower end of the difference to kNN or the task table may be."""


@dataclass(frozen=True)
class Bound:
    """One condition of the gate: the candidate's score difference to a rival (None where it is not defined)."""

    rival: str
    rule: str
    difference: Interval | None
    passed: bool

    def __str__(self) -> str:
        if self.difference is None:
            return f"{self.rule} {self.rival}: no figure"
        d = self.difference
        return f"{self.rule} {self.rival}: {d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"


@dataclass(frozen=True)
class Verdict:
    """The gate's result: whether the candidate may serve, a line with the reason, and all conditions."""

    promoted: bool
    line: str
    bounds: tuple[Bound, ...]


def gate(entries: Sequence[Entry], candidate: str, champion: str | None) -> Verdict:
    """Judge the entry `candidate` against the entry `champion` and the baselines, all from one comparison.

    A condition fails if its rival is not among the entries, or its difference is not finite. An unknown champion (None)
    fails too: the first champion is the best single worker, by its name.
    """
    known = {entry.name: entry for entry in entries}
    rules = [(champion or "champion", True), (BEST_SINGLE, True), (KNN, False), (TASK_PREDICTED, False)]
    bounds = tuple(_bound(known.get(candidate), known.get(rival), rival, better) for rival, better in rules)
    failed = [str(bound) for bound in bounds if not bound.passed]
    promoted = not failed
    line = f"{candidate}: promoted" if promoted else f"{candidate}: not promoted; failed " + "; ".join(failed)
    return Verdict(promoted, line, bounds)


def _bound(candidate: Entry | None, rival: Entry | None, name: str, better: bool) -> Bound:
    rule = "better than" if better else f"not inferior (≥ −{MARGIN}) to"
    if candidate is None or rival is None or len(candidate.scores) == 0:
        return Bound(name, rule, None, False)
    gap = difference(candidate, rival)
    if not all(map(math.isfinite, gap)):
        return Bound(name, rule, None, False)
    return Bound(name, rule, gap, gap.low > 0 if better else gap.low >= -MARGIN)
