"""The comparison of each task: what routers gain on it over the best single worker, question by question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.baselines import BEST_SINGLE, ORACLE
from models.evaluation.metrics import Entry, Interval, difference, paired

TITLE = "By task"

LEAST = 30
"""A task of fewer questions has no row of its own: nothing would be seen on it."""


@dataclass(frozen=True)
class Family:
    """A policy on one task's questions: its mean `score`, its `gain` over the best single worker (chosen on train, over
    all tasks), paired, and the mean scores of that worker and of the oracle."""

    task: str
    name: str
    questions: int
    score: Interval
    gain: Interval
    single: float
    oracle: float

    @property
    def row(self) -> dict[str, Any]:
        """The figures as JSON values."""
        score = {"score": self.score.value, "low": self.score.low, "high": self.score.high}
        gain = {"gain": self.gain.value, "gain_low": self.gain.low, "gain_high": self.gain.high}
        rest = {"best_single": self.single, "oracle": self.oracle}
        return {"task": self.task, "name": self.name, "n": self.questions, **score, **gain, **rest}

    @property
    def told(self) -> dict[str, str]:
        """The figures for a person, by name."""
        return {
            "": f"{self.task}: {self.name}",
            "questions": str(self.questions),
            "mean score [95 %]": f"{self.score.value:.4f} [{self.score.low:.4f}, {self.score.high:.4f}]",
            "to best single [95 %]": f"{self.gain.value:+.4f} [{self.gain.low:+.4f}, {self.gain.high:+.4f}]",
            "best single": f"{self.single:.4f}",
            "oracle": f"{self.oracle:.4f}",
        }


def families(entries: Sequence[Entry], tasks: NDArray[np.str_], shown: Sequence[str]) -> list[Family]:
    """Each of the policies `shown` on each task of at least `LEAST` questions, task by task; none where there is one
    task. entries: of one comparison, with best single and oracle; tasks [Q]."""
    known = {entry.name: entry for entry in entries}
    names, counts = np.unique(tasks, return_counts=True)
    found = []
    for task in names[counts >= LEAST] if len(names) > 1 else ():
        own = {name: known[name].rows(tasks == task) for name in (BEST_SINGLE, ORACLE, *shown)}
        single, oracle = own[BEST_SINGLE], float(own[ORACLE].scores.mean())
        for name in shown:
            scores = own[name].scores
            gain = difference(own[name], single)
            best = float(single.scores.mean())
            found.append(Family(str(task), name, len(scores), paired(scores), gain, best, oracle))
    return found
