"""A comparison on recorded scores: in folds or from one file to another, and with each task left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.errors import BadInput
from models.evaluation.baselines import BEST_SINGLE, TASK_TRUE, best_single
from models.evaluation.metrics import Entry, Interval, concatenate, paired
from models.evaluation.rivals import FORM, SHUFFLED
from models.evaluation.table import Row, table
from tasks.comparing.contenders import BY_TASK, BY_TASK_EVERYWHERE, ROWS, contenders, routers
from tasks.comparing.recorded import Recorded

LEAST = 30
"""A task of fewer questions has no row of its own: nothing would be seen on it."""

CANDIDATES = (BY_TASK, ROWS)
"""What may be seated, the first where they score the same."""


@dataclass(frozen=True)
class LeftOut:
    """One task that the router was not taught: the gain of each of its questions over the best single worker of the
    other tasks, and the share of questions on which the router did not choose that worker."""

    task: str
    gains: NDArray[np.floating]
    moved: float


@dataclass(frozen=True)
class Study:
    """`entries`: of every seed. `unseen`: by candidate, one for each task."""

    workers: tuple[str, ...]
    entries: dict[int, list[Entry]]
    unseen: dict[str, list[LeftOut]] = field(default_factory=dict)

    def unseen_gain(self, name: str) -> tuple[Interval, Interval]:
        """The gain on tasks left out, with its interval over questions, and over tasks."""
        found = self.unseen[name]
        return paired(np.concatenate([each.gains for each in found])), paired(np.array([e.gains.mean() for e in found]))

    @cached_property
    def rows(self) -> dict[int, dict[str, Row]]:
        """The table of each seed, the best first, by the entries' names."""
        return {
            seed: {row["name"]: row for row in sorted(table(entries, self.workers), key=lambda row: -row["score"])}
            for seed, entries in self.entries.items()
        }

    def rivals(self) -> list[str]:
        """The entries that see what a router sees: the question, and nothing of its scores or its task's name."""
        names = [each.name for each in next(iter(self.entries.values()))]
        others = {*self.workers, BEST_SINGLE, TASK_TRUE, "oracle", "random", "cheapest", SHUFFLED, FORM}
        return [name for name in names if name not in others | {*CANDIDATES, BY_TASK_EVERYWHERE}]


def place_of(data: Recorded, folds: int, seed: int) -> NDArray[np.intp]:
    """The fold [Q] of each question; those of one text share theirs. Raises BadInput for more folds than texts."""
    texts = int(data.groups.max()) + 1
    if texts < folds:
        raise BadInput(f"{texts} texts are too few for {folds} folds", "folds")
    return (np.random.default_rng(seed).permutation(texts) % folds)[data.groups]


def in_folds(data: Recorded, folds: int, seeds: Sequence[int], told: Callable[[str], None]) -> dict[int, list[Entry]]:
    """Each question's result by what was fitted without its fold, for each seed."""
    found = {}
    for seed in seeds:
        place, parts, order = place_of(data, folds, seed), [], []
        for held in range(folds):
            told(f"seed {seed}: fold {held + 1} of {folds}")
            parts.append(contenders(data.rows(place != held), data.rows(place == held), seed))
            order.append(np.flatnonzero(place == held))
        back = np.argsort(np.concatenate(order))
        found[seed] = [each.rows(back) for each in concatenate(parts)]
    return found


def in_two(
    train: Recorded, test: Recorded, seeds: Sequence[int], told: Callable[[str], None]
) -> dict[int, list[Entry]]:
    """The results on `test` of what was fitted to `train` without the texts that both have."""
    own = train.rows(~np.isin(np.array(train.texts), np.array(test.texts)))
    found = {}
    for seed in seeds:
        told(f"seed {seed}")
        found[seed] = contenders(own, test, seed)
    return found


def left_out(data: Recorded, told: Callable[[str], None]) -> dict[str, list[LeftOut]]:
    """Each task of at least `LEAST` questions by routers that were taught the others; none where there is one task."""
    found: dict[str, list[LeftOut]] = {}
    for task, rows in _tasks(data):
        told(f"without the task {task}")
        train, test = data.rows(~rows & ~np.isin(data.groups, data.groups[rows])), data.rows(rows)
        single = best_single(train.part)
        for each in routers(train, test):
            gains = each.scores - test.part.scores[:, single]
            found.setdefault(each.name, []).append(LeftOut(task, gains, float(1 - each.shares[:, single].mean())))
    return found


def _tasks(data: Recorded) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    names, counts = np.unique(data.part.tasks, return_counts=True)
    for name, count in zip(names, counts, strict=True):
        if count >= LEAST and len(names) > 1:
            yield str(name), data.part.tasks == name
