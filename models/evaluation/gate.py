"""The gate that a router must pass before it serves (ARCHITECTURE, decision 7).

It must be better than the champion and the best single worker, not inferior to kNN and the task table, and not below
the warm start that it may have been trained from; a comparison that lacks a number fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.evaluation.baselines import BEST_SINGLE, KNN, TASK_PREDICTED
from models.evaluation.metrics import Entry, Interval, difference

MARGIN = 0.01
"""How far below zero the lower end of the difference to kNN or the task table may be."""


Rule = tuple[str, Callable[[Interval], bool]]
"""What is asked of the difference to a rival, in words and as a function."""

BETTER: Rule = ("better than", lambda gap: gap.low > 0)
NEAR: Rule = (f"not inferior (≥ −{MARGIN}) to", lambda gap: gap.low >= -MARGIN)
ABOVE: Rule = ("not below", lambda gap: gap.value >= 0)


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


def gate(entries: Sequence[Entry], candidate: str, champion: str | None, warm: str | None = None) -> Verdict:
    """Judge the entry `candidate` against the entry `champion` and the baselines, all from one comparison.

    A condition fails if its rival is not among the entries, or its difference is not finite. An unknown champion (None)
    fails too: the first champion is the best single worker, by its name. `warm`: the warm start's entry, if there is
    one.
    """
    known = {entry.name: entry for entry in entries}
    rules = [(champion or "champion", BETTER), (BEST_SINGLE, BETTER), (KNN, NEAR), (TASK_PREDICTED, NEAR)]
    if warm is not None and warm != candidate:
        rules.append((warm, ABOVE))
    bounds = tuple(_bound(known.get(candidate), known.get(rival), rival, *rule) for rival, rule in rules)
    failed = [str(bound) for bound in bounds if not bound.passed]
    promoted = not failed
    line = f"{candidate}: promoted" if promoted else f"{candidate}: not promoted; failed " + "; ".join(failed)
    return Verdict(promoted, line, bounds)


def _bound(
    candidate: Entry | None, rival: Entry | None, name: str, rule: str, passes: Callable[[Interval], bool]
) -> Bound:
    if candidate is None or rival is None or len(candidate.scores) == 0:
        return Bound(name, rule, None, False)
    gap = difference(candidate, rival)
    if not all(map(math.isfinite, gap)):
        return Bound(name, rule, None, False)
    return Bound(name, rule, gap, passes(gap))
