"""The gate a router passes before it serves (DESIGN, decision 7): better than the champion and the best single
worker, not inferior to what is simpler, and every figure there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from models.evaluation.baselines import BEST_SINGLE, KNN, TASK_PREDICTED
from models.evaluation.metrics import Entry, Interval, difference

MARGIN = 0.01
"""How far the lower end of the difference to a simpler rival may lie below zero."""


@dataclass(frozen=True)
class Bound:
    """One condition: the candidate's difference to a rival (None where it could not be measured)."""

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
    """Whether the candidate may serve, the line that says why, and every bound behind it."""

    promoted: bool
    line: str
    bounds: tuple[Bound, ...]


def gate(entries: Sequence[Entry], candidate: str, champion: str | None) -> Verdict:
    """Judge the entry `candidate` against the entry `champion` and the baselines, all from one comparison.

    A rival that is not among the entries, or a figure that is not finite, fails. So does an unknown champion
    (None): the first champion is the best single worker, by its name.
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
