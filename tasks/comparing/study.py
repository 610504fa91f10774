"""A comparison on recorded scores: in folds or from one file to another, and with each task left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.errors import BadInput
from models.evaluation.baselines import BEST_SINGLE, CHEAPEST, ORACLE, RANDOM, TASK_TRUE, best_single
from models.evaluation.calibration import Calibration, calibration
from models.evaluation.families import LEAST, Family, families
from models.evaluation.latency import Latency
from models.evaluation.metrics import Interval, difference, paired
from models.evaluation.noise import ORACLE_CORRECTED
from models.evaluation.perturbations import KINDS
from models.evaluation.rivals import FORM, SHUFFLED
from models.evaluation.robustness import Flips, flips
from models.evaluation.spending import SETTINGS, Spending, setting_of, spending
from models.evaluation.table import Row, table
from tasks.comparing.contenders import (
    BY_TASK,
    BY_TASK_EVERYWHERE,
    ROWS,
    Contest,
    by_task,
    contenders,
    routers,
)
from tasks.comparing.recorded import Recorded

CANDIDATES = (BY_TASK, ROWS)
"""What may be seated, the first where they score the same."""

SIZES = (100, 300, 1000)
"""Train questions of the learning curve; its last point is all of them."""


@dataclass(frozen=True)
class LeftOut:
    """One task that the router was not taught: the gain of each of its questions over the best single worker of the
    other tasks, and the share of questions on which the router did not choose that worker."""

    task: str
    gains: NDArray[np.floating]
    moved: float


@dataclass(frozen=True)
class Learned:
    """What a head of tasks is worth that was fitted on so many `questions`: its gain over the best single worker of the
    whole train part, and its part of what choosing could bring, averaged over the seeds."""

    questions: int
    gain: Interval
    gap: float | None


@dataclass(frozen=True)
class Study:
    """`tasks` [Q]: of the questions of every contest; `contests`: by seed. `unseen`: by candidate, one for each task.
    `curve`: by train questions, ascending. `latencies`: of a decision, by router. `overlap`: what the parts share."""

    workers: tuple[str, ...]
    tasks: NDArray[np.str_]
    contests: dict[int, Contest]
    unseen: dict[str, list[LeftOut]] = field(default_factory=dict)
    curve: Sequence[Learned] = ()
    latencies: dict[str, Latency] = field(default_factory=dict)
    overlap: str = ""

    @property
    def enough(self) -> int | None:
        """The fewest train questions of the curve from which on every gain is certain; None where the last is not."""
        found = None
        for point in reversed(self.curve):
            if point.gain.low <= 0:
                break
            found = point.questions
        return found

    def offered_gain(self, name: str, over: str) -> dict[int, Interval]:
        """By seed, what a router gains over a rival where a random part of the workers is offered."""
        known = {seed: {each.name: each for each in found.offered} for seed, found in self.contests.items()}
        return {seed: difference(found[name], found[over]) for seed, found in known.items() if found}

    @cached_property
    def families(self) -> list[Family]:
        """The candidates on each task, of the first seed."""
        return families(next(iter(self.contests.values())).entries, self.tasks, CANDIDATES)

    @cached_property
    def calibrations(self) -> dict[int, dict[str, Calibration]]:
        """By seed and candidate, of the scores that it expects."""
        found: dict[int, dict[str, Calibration]] = {}
        for seed, contest in self.contests.items():
            scores = {each.name: each.scores for each in contest.entries}
            found[seed] = {name: calibration(contest.expected[name], scores[name]) for name in CANDIDATES}
        return found

    @cached_property
    def flips(self) -> dict[int, dict[str, list[Flips]]]:
        """By seed and candidate, by kind of perturbation; empty where nothing was perturbed."""
        found: dict[int, dict[str, list[Flips]]] = {}
        for seed, contest in self.contests.items():
            known = {each.name: each for each in contest.altered}
            for name in CANDIDATES if known else ():
                before = known[f"{name}, "]
                each = [flips(kind, before, known[f"{name}, {kind}"]) for kind in KINDS]
                found.setdefault(seed, {})[name] = each
        return found

    @property
    def once(self) -> bool:
        """Whether some reply was not repeated, so that the oracle's luck cannot be taken out."""
        return ORACLE_CORRECTED not in next(iter(self.rows.values()))

    @cached_property
    def spending(self) -> dict[int, dict[str, Spending]]:
        """By seed and candidate, what its knob is worth; empty where all workers cost the same."""
        found: dict[int, dict[str, Spending]] = {}
        for seed, contest in self.contests.items():
            settings, known = ({each.name: each for each in part} for part in (contest.knobs, contest.entries))
            alone = [known[name] for name in self.workers]
            single = int(known[BEST_SINGLE].shares.mean(axis=0).argmax())
            for name in CANDIDATES if settings else ():
                curve = {s: settings[setting_of(name, s)] for s in SETTINGS}
                if (worth := spending(curve, alone, single)) is not None:
                    found.setdefault(seed, {})[name] = worth
        return found

    def unseen_gain(self, name: str) -> tuple[Interval, Interval]:
        """The gain on tasks left out, with its interval over questions, and over tasks."""
        found = self.unseen[name]
        return paired(np.concatenate([each.gains for each in found])), paired(np.array([e.gains.mean() for e in found]))

    @cached_property
    def rows(self) -> dict[int, dict[str, Row]]:
        """The table of each seed, the best first, by the entries' names."""
        return {
            seed: {r["name"]: r for r in sorted(table(contest.entries, self.workers), key=lambda row: -row["score"])}
            for seed, contest in self.contests.items()
        }

    def rivals(self) -> list[str]:
        """The entries that see what a router sees: the question, and nothing of its scores or its task's name."""
        names = [each.name for each in next(iter(self.contests.values())).entries]
        others = {*self.workers, BEST_SINGLE, TASK_TRUE, ORACLE, ORACLE_CORRECTED, RANDOM, CHEAPEST, SHUFFLED, FORM}
        return [name for name in names if name not in others | {*CANDIDATES, BY_TASK_EVERYWHERE}]


def place_of(data: Recorded, folds: int, seed: int) -> NDArray[np.intp]:
    """The fold [Q] of each question; those of one text share theirs. Raises BadInput for more folds than texts."""
    texts = int(data.groups.max()) + 1
    if texts < folds:
        raise BadInput(f"{texts} texts are too few for {folds} folds", "folds")
    return (np.random.default_rng(seed).permutation(texts) % folds)[data.groups]


def in_folds(data: Recorded, folds: int, seeds: Sequence[int], told: Callable[[str], None]) -> dict[int, Contest]:
    """Each question's results by what was fitted without its fold, for each seed."""
    results = {}
    for seed in seeds:
        place, parts, order = place_of(data, folds, seed), [], []
        for held in range(folds):
            told(f"seed {seed}: fold {held + 1} of {folds}")
            parts.append(contenders(data.rows(place != held), data.rows(place == held), seed))
            order.append(np.flatnonzero(place == held))
        results[seed] = Contest.pooled(parts, np.argsort(np.concatenate(order)))
    return results


def curve(data: Recorded, folds: int, seeds: Sequence[int], told: Callable[[str], None]) -> list[Learned]:
    """The gain of each question, by its fold, of heads of tasks that were fitted on more and more of the others."""
    scores, found = data.part.scores, []
    places = {seed: place_of(data, folds, seed) for seed in seeds}
    dealt = []
    for seed, place in places.items():
        order = np.random.default_rng(seed).permutation(len(scores))
        for held in range(folds):
            whole = order[place[order] != held]
            dealt.append((np.flatnonzero(place == held), whole, best_single(data.rows(whole).part)))
    fewest = min(len(whole) for _, whole, _ in dealt)
    for size in [*(size for size in SIZES if size < fewest), fewest]:
        told(f"learning curve: {size} train questions")
        gains, most = np.zeros(len(scores)), np.zeros(len(scores))
        for rows, whole, single in dealt:
            choice = by_task(data.rows(whole[:size]), data.rows(rows))
            gains[rows] += (scores[rows, choice] - scores[rows, single]) / len(seeds)
            most[rows] += (scores[rows].max(axis=1) - scores[rows, single]) / len(seeds)
        gap = float(gains.mean() / most.mean()) if most.mean() > 0 else None
        found.append(Learned(size, paired(gains), gap))
    return found


def in_two(train: Recorded, test: Recorded, seeds: Sequence[int], told: Callable[[str], None]) -> dict[int, Contest]:
    """The results on `test` of what was fitted to `train` without the texts that both have; as of `in_folds`."""
    own = train.rows(~np.isin(np.array(train.texts), np.array(test.texts)))
    results = {}
    for seed in seeds:
        told(f"seed {seed}")
        results[seed] = contenders(own, test, seed)
    return results


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
