"""Stage 1 for a head of tasks: P(task) by Gaussians of one covariance, a task's mean scores, and the fallback.

Everything has a closed form: a penalty costs a product, not a fit. Four things keep the head from doing harm where it
knows little. A task's means differ from the overall ones only by what exceeds `caution` standard errors. The slopes of
scores within a task are shared by all tasks, and penalised. Too certain a P(task) is tempered. States beyond the reach
of the taught ones fall back to the best single worker. All are chosen on train under two criteria at once: the score on
questions of the tasks that are taught, and, task by task, the score on a task that was left out.

Source of P(task): linear discriminant analysis with a ridge (Friedman, Regularized Discriminant Analysis, 1989).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from models.errors import BadInput
from models.fugu.head import HeadForm, Tasks, anchors_of, familiarity
from models.fugu.learn.classes import Classes, Indices, clusters, task_means
from models.fugu.learn.targets import Floats

NONE = float("inf")
"""The penalty of slopes that are not used."""


@dataclass(frozen=True)
class TaskOptions:
    """The grid. `penalties`: added to the variances of standardised states. `temperatures`: of P(task). `slopes`:
    penalties of the regression within tasks, or NONE. `cautions`: standard errors that a task's mean is moved towards
    the overall one. `quantiles`: share of the taught states that count as novel.

    `prior`: questions' worth of the overall mean in a task's. `anchors`: at most so many taught states are kept.
    `tolerated`: the lower end of the gain on tasks left out may be so far below zero, and `tolerated_of_one` the gain
    on any of them that has `counted` questions. `damped`: at most so many directions (`Classes.widest`). `clusters`: of
    states, where the questions name one task only.
    """

    penalties: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0)
    temperatures: tuple[float, ...] = (1.0, 2.0, 4.0)
    slopes: tuple[float, ...] = (NONE, 100.0, 30.0, 10.0)
    cautions: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    quantiles: tuple[float, ...] = (0.05, 0.1, 0.2)
    prior: float = 10.0
    anchors: int = 2048
    damped: int = 64
    tolerated: float = 0.01
    tolerated_of_one: float = 0.03
    counted: int = 150
    clusters: int = 12
    folds: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Point:
    """A point of the grid. `gain`: cross-validated mean score on train less the best single worker's; `unseen`,
    `unseen_low`: the same on questions whose task was left out, and the lower end of its 95 % interval; `worst`: the
    same of the task that loses most, 0 where none has enough questions."""

    penalty: float
    temperature: float = 1.0
    slope: float = NONE
    caution: float = 0.0
    quantile: float = 0.0
    gain: float = float("nan")
    unseen: float = float("nan")
    unseen_low: float = float("nan")
    worst: float = float("nan")


@dataclass(frozen=True)
class TaskHead:
    """A fitted head and its form; the chosen point, and all that were tried. `everywhere`: the same without caution and
    fallback, for comparison."""

    head: Tasks
    everywhere: Tasks
    form: HeadForm
    chosen: Point
    trials: tuple[Point, ...]


def fit_tasks(
    features: Floats,
    labels: Floats,
    tasks: Sequence[str] | NDArray[np.str_],
    options: TaskOptions | None = None,
    groups: NDArray[np.generic] | None = None,
) -> TaskHead:
    """features [Q, d], labels [Q, L] in [0, 1] (NaN: not measured), tasks [Q]. `groups` [Q]: equal for questions that
    must not be parted between folds, such as those of one text. Where there are too few to choose by, they are one task
    and the head chooses the best single worker. Raises BadInput for shapes that do not fit, features that are not
    finite, or a worker or question without a label."""
    options = options or TaskOptions()
    features, labels = np.asarray(features, np.float64), np.asarray(labels, np.float64)
    _check(features, labels, tasks)
    with threadpool_limits(1, "blas") if len(labels) < 500 else threadpool_limits():
        return _Fit(features, labels, np.asarray(tasks), options, groups).best()


def _check(features: Floats, labels: Floats, tasks: Sequence[str] | NDArray[np.str_]) -> None:
    if features.ndim != 2 or labels.ndim != 2 or not len(features) == len(labels) == len(tasks):
        raise BadInput("features [Q, d], labels [Q, L] and tasks [Q] must name the same questions", "features")
    if not np.isfinite(features).all() or np.isinf(labels).any():
        raise BadInput("features must be finite, and labels finite or missing", "labels")
    if not len(labels):
        raise BadInput("there is no question to fit a head on", "labels")
    if np.isnan(labels).all(axis=0).any() or np.isnan(labels).all(axis=1).any():
        raise BadInput("a worker or a question has no label", "labels")


@dataclass(frozen=True)
class _Split:
    """Questions that are judged by what others taught, boolean [Q] each. `among`: the tasks that their P(task) is
    divided between; only these have taught."""

    taught: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    among: Indices
    classes: Classes


class _Fit:
    """One search: what several points of the grid share is computed once."""

    def __init__(
        self,
        features: Floats,
        labels: Floats,
        tasks: NDArray[np.str_],
        options: TaskOptions,
        groups: NDArray[np.generic] | None,
    ) -> None:
        self.options, self.labels = options, labels
        draws = np.random.default_rng(options.seed)
        self.centre, self.scale = features.mean(axis=0), features.std(axis=0) + 1e-9
        self.standard = (features - self.centre) / self.scale
        names, self.task = np.unique(tasks, return_inverse=True)
        self.few = len(labels) < 4 * options.folds
        if self.few:
            self.task = np.zeros(len(labels), np.intp)
        elif len(names) == 1:
            self.task = clusters(self.standard, options.clusters, options.seed)
        self.count = int(self.task.max()) + 1
        group = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
        self.fold = (draws.permutation(group.max() + 1) % options.folds)[group]
        self.kept = np.sort(draws.permutation(len(labels))[: options.anchors])
        self.damped = torch.from_numpy(self._classes.widest(options.damped)).float()
        self.anchors = anchors_of(torch.from_numpy(self.standard[self.kept]).float(), self.damped)
        same = group[:, None] == group[self.kept][None]
        self.near = self._familiarity(same)
        self.near_others = self._familiarity(same | (self.task[:, None] == self.task[self.kept][None]))
        self.usual, self.spread = self._usual()

    def _familiarity(self, without: NDArray[np.bool_]) -> Floats:
        """Mean cosine [Q] to the nearest anchors, those marked in `without` [Q, K] left out."""
        rows, found = torch.from_numpy(self.standard).float(), []
        for start in range(0, len(rows), 1024):
            part = slice(start, start + 1024)
            found.append(familiarity(rows[part], self.anchors, self.damped, torch.from_numpy(without[part])))
        return torch.cat(found).double().numpy()

    def _usual(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation [T] of the familiarity of each task's questions."""
        usual, spread = np.full(self.count, self.near.mean()), np.full(self.count, self.near.std())
        for task in range(self.count):
            own = self.near[self.task == task]
            if len(own) > 1:
                usual[task], spread[task] = own.mean(), own.std()
        return usual, np.maximum(spread, 1e-6)

    def _above(self, point: Point, near: Floats, splits: Sequence[_Split]) -> Floats:
        """By how many standard deviations [Q] familiarities are above what P(task) lets expect."""
        found = np.zeros(len(near))
        for split in splits:
            share, among = self._share(point, split), split.among
            found[split.judged] = (near[split.judged] - share @ self.usual[among]) / (share @ self.spread[among])
        return found

    def best(self) -> TaskHead:
        """The point with the greatest gain on taught tasks among those that do no harm on tasks left out."""
        options = self.options
        if self.few:
            most_cautious = Point(options.penalties[-1])
            return self._head(most_cautious, (most_cautious,), 0.0)
        sharp = self._greatest(Point(p, t) for p in options.penalties for t in options.temperatures)
        sloped = self._greatest(replace(sharp, slope=slope) for slope in options.slopes)
        known = self._above(sloped, self.near, self._folds)
        others = self._above(sloped, self.near_others, self._left_out)
        cautious = (replace(sloped, caution=caution) for caution in options.cautions)
        points = tuple(found for point in cautious for found in self._judged(point, known, others))
        harmless = [p for p in points if p.unseen_low >= -options.tolerated and p.worst >= -options.tolerated_of_one]
        chosen = max(harmless, key=lambda point: point.gain) if harmless else max(points, key=lambda p: p.unseen_low)
        return self._head(chosen, points, float(np.quantile(known, chosen.quantile)))

    def _greatest(self, points: Iterable[Point]) -> Point:
        """The one with the greatest gain on taught tasks, of points without a fallback."""
        return max(points, key=lambda point: float(np.nanmean(self._gains(point, self._folds))))

    def _judged(self, point: Point, known: Floats, others: Floats) -> list[Point]:
        """The point with each share of states that count as novel, on which the router gains nothing. known, others
        [Q]: by `_above`, of what was taught and of tasks left out."""
        gains, unseen = self._gains(point, self._folds), self._gains(point, self._left_out)
        found = []
        for quantile in self.options.quantiles:
            least = np.quantile(known, quantile)
            outside = np.where(others < least, 0.0, unseen)
            several = (split.judged for split in self._left_out if split.judged.sum() >= self.options.counted)
            worst = min((np.nanmean(outside[judged]) for judged in several), default=0.0)
            outside = outside[~np.isnan(outside)]  # of two workers that were both measured
            mean, error = float(outside.mean()), float(outside.std() / np.sqrt(len(outside)))
            gain = float(np.nanmean(np.where(known < least, 0.0, gains)))
            given = {"gain": gain, "unseen": mean, "unseen_low": mean - 1.96 * error, "worst": float(worst)}
            found.append(replace(point, quantile=quantile, **given))
        return found

    @cached_property
    def _classes(self) -> Classes:
        return Classes(self.standard, self.labels, self.task, self.count)

    @cached_property
    def _folds(self) -> list[_Split]:
        found, every = [], np.arange(self.count)
        for held in range(self.options.folds):
            taught = self.fold != held
            classes = Classes(self.standard[taught], self.labels[taught], self.task[taught], self.count)
            found.append(_Split(taught, ~taught, every, classes))
        return found

    @cached_property
    def _left_out(self) -> list[_Split]:
        """Each task, as the others have taught. The covariance within tasks is that of all."""
        every = np.arange(self.count)
        if self.count == 1:
            return []
        return [_Split(self.task != t, self.task == t, np.delete(every, t), self._classes) for t in every]

    def _gains(self, point: Point, splits: Sequence[_Split]) -> Floats:
        """What each question's choice gains over the best single worker, [Q]; 0 where no split judges it."""
        gains = np.zeros(len(self.labels))
        for split in splits:
            scores, overall = self._scores(point, split)
            labels, single = self.labels[split.judged], int(overall.argmax())
            gains[split.judged] = labels[np.arange(len(labels)), scores.argmax(axis=1)] - labels[:, single]
        return gains

    def _scores(self, point: Point, split: _Split) -> tuple[Floats, Floats]:
        """The expected scores [q, L] of the questions that a split judges, and the workers' means [L] without them."""
        rows, among, share = self.standard[split.judged], split.among, self._share(point, split)
        means, overall = self._means(split.taught, point.caution)
        if point.slope == NONE:
            return share @ means[among], overall
        slopes = split.classes.slopes(point.slope, among)
        return share @ (means - split.classes.centres @ slopes.T)[among] + rows @ slopes.T, overall

    def _share(self, point: Point, split: _Split) -> Floats:
        """P(task) [q, T] of the questions that a split judges."""
        weights, bias = split.classes.regression(point.penalty, point.temperature)
        return softmax(self.standard[split.judged] @ weights[split.among].T + bias[split.among], axis=1)

    def _means(self, rows: NDArray[np.bool_], caution: float) -> tuple[Floats, Floats]:
        return task_means(self.labels[rows], self.task[rows], self.count, caution, self.options.prior)

    def _head(self, chosen: Point, trials: tuple[Point, ...], least: float) -> TaskHead:
        classes, every = self._classes, np.ones(len(self.labels), bool)
        weights, bias = classes.regression(chosen.penalty, chosen.temperature)
        means, overall = self._means(every, chosen.caution)
        plain, _ = self._means(every, 0.0)
        slopes: Floats = np.zeros((0, len(self.centre)))
        if chosen.slope != NONE:
            slopes = classes.slopes(chosen.slope, np.arange(self.count))
            means, plain = (each - classes.centres @ slopes.T for each in (means, plain))
        # What has no bound keeps no anchors: nothing would be read from them.
        kept = len(self.anchors) if chosen.quantile > 0 else 0
        bound = np.array([least if kept else 0.0])
        parts = [self.centre, self.scale, weights, bias, means, slopes, overall, self.anchors[:kept].numpy()]
        parts += [self.usual, self.spread, self.damped.numpy(), bound, np.zeros((0, len(self.centre)))]
        head = Tasks(*(torch.from_numpy(np.asarray(part, np.float32)) for part in parts))
        everywhere = replace(head, means=torch.from_numpy(plain).float(), anchors=head.anchors[:0])
        form = HeadForm("tasks", self.count, kept, len(slopes) > 0, len(self.damped))
        return TaskHead(head, everywhere, form, chosen, trials)
