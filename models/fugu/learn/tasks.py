"""Stage 1 for a head of tasks: P(task) by logistic regression on states, a task's mean scores, and the fallback.

Three things keep it from doing harm where it knows little. A task's means differ from the overall ones only by what
exceeds `caution` standard errors. States beyond the reach of the taught ones fall back to the best single worker. Both,
and the penalty, are chosen on train under two criteria at once: the score on questions of the tasks that are taught,
and, task by task, the score on a task that was left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp, softmax
from threadpoolctl import threadpool_limits

from models.errors import BadInput
from models.fugu.head import HeadForm, Tasks, familiarity, unit
from models.fugu.learn.targets import Floats

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class TaskOptions:
    """The grid. `penalties`: λ of λ/2 ‖W‖² on standardised states, the intercepts free. `cautions`: standard errors
    that a task's mean is moved towards the overall one. `quantiles`: share of the taught states that count as novel.

    `prior`: questions' worth of the overall mean in a task's. `anchors`: at most so many taught states are kept.
    `tolerated`: the lower end of the gain on tasks left out may be so far below zero. `clusters`: of states, where the
    questions name one task only.
    """

    penalties: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)
    cautions: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    quantiles: tuple[float, ...] = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
    prior: float = 10.0
    anchors: int = 2048
    tolerated: float = 0.01
    clusters: int = 12
    folds: int = 3
    iterations: int = 60
    seed: int = 0


@dataclass(frozen=True)
class Point:
    """A point of the grid. `gain`: cross-validated mean score on train less the best single worker's; `unseen`,
    `unseen_low`: the same on questions whose task was left out, and the lower end of its 95 % interval."""

    penalty: float
    caution: float
    quantile: float
    gain: float = float("nan")
    unseen: float = float("nan")
    unseen_low: float = float("nan")


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


class _Fit:
    """One search: what every point of the grid shares is computed once."""

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
        kept = np.sort(draws.permutation(len(labels))[: options.anchors])
        self.anchors = unit(torch.from_numpy(self.standard[kept])).float()
        same = group[:, None] == group[kept][None]
        self.near = self._familiarity(same)
        self.near_others = self._familiarity(same | (self.task[:, None] == self.task[kept][None]))

    def _familiarity(self, without: NDArray[np.bool_]) -> Floats:
        """Mean cosine [Q] to the nearest anchors, those marked in `without` [Q, K] left out."""
        rows, anchors = unit(torch.from_numpy(self.standard)).float(), self.anchors
        found = []
        for start in range(0, len(rows), 1024):
            part = slice(start, start + 1024)
            found.append(familiarity(rows[part], anchors, torch.from_numpy(without[part])))
        return torch.cat(found).double().numpy()

    def best(self) -> TaskHead:
        """The point with the greatest gain on taught tasks among those that do no harm on tasks left out."""
        if self.few:
            cautious = Point(self.options.penalties[-1], 0.0, 0.0)
            return self._head(cautious, (cautious,))
        outside = {penalty: self._outside(penalty) for penalty in self.options.penalties}
        first = [self._judged(Point(penalty, 0.0, 0.0), outside[penalty]) for penalty in outside]
        penalty = max(first, key=lambda point: point.gain).penalty
        points = [
            self._judged(Point(penalty, caution, quantile), outside[penalty])
            for caution in self.options.cautions
            for quantile in self.options.quantiles
        ]
        harmless = [point for point in points if point.unseen_low >= -self.options.tolerated]
        chosen = max(harmless, key=lambda point: point.gain) if harmless else max(points, key=lambda p: p.unseen_low)
        return self._head(chosen, tuple(points))

    def _outside(self, penalty: float) -> Floats:
        """P(task) [Q, T] of each question by a regression that did not see its fold."""
        logits = np.zeros((len(self.task), self.count))
        for held in range(self.options.folds):
            train = self.fold != held
            weights, bias = self._regressed(train, penalty)
            logits[~train] = self.standard[~train] @ weights.T + bias
        return log_softmax(logits, axis=1)

    def _regressed(self, rows: NDArray[np.bool_], penalty: float) -> tuple[Floats, Floats]:
        return regress(self.standard[rows], self.task[rows], self.count, penalty, self.options.iterations)

    def _judged(self, point: Point, logits: Floats) -> Point:
        gain = np.zeros(len(self.labels))
        novel = self.near < np.quantile(self.near, point.quantile)
        for held in range(self.options.folds):
            train, valid = self.fold != held, self.fold == held
            means, overall = self._means(train, point.caution)
            gain[valid] = self._gain(valid, softmax(logits[valid], axis=1) @ means, overall, novel[valid])
        unseen = self._unseen(point, logits)
        unseen = unseen[~np.isnan(unseen)]  # of two workers that were both measured
        mean, error = float(unseen.mean()), float(unseen.std() / np.sqrt(len(unseen)))
        return replace(point, gain=float(np.nanmean(gain)), unseen=mean, unseen_low=mean - 1.96 * error)

    def _unseen(self, point: Point, logits: Floats) -> Floats:
        """The gain [Q] of each question where its task is unknown: its share of P(task) goes to the others."""
        gain = np.zeros(len(self.labels))
        novel = self.near_others < np.quantile(self.near, point.quantile)
        for task in np.unique(self.task):
            rows = self.task == task
            others = np.delete(np.arange(self.count), task)
            if not len(others) or rows.all():
                continue
            means, overall = self._means(~rows, point.caution)
            share = softmax(logits[np.ix_(rows, others)], axis=1)
            gain[rows] = self._gain(rows, share @ means[others], overall, novel[rows])
        return gain

    def _gain(self, rows: NDArray[np.bool_], scores: Floats, overall: Floats, novel: NDArray[np.bool_]) -> Floats:
        labels, single = self.labels[rows], int(overall.argmax())
        choice = np.where(novel, single, scores.argmax(axis=1))
        return labels[np.arange(len(labels)), choice] - labels[:, single]

    def _means(self, rows: NDArray[np.bool_], caution: float) -> tuple[Floats, Floats]:
        return task_means(self.labels[rows], self.task[rows], self.count, caution, self.options.prior)

    def _head(self, chosen: Point, trials: tuple[Point, ...]) -> TaskHead:
        every = np.ones(len(self.labels), bool)
        weights, bias = self._regressed(every, chosen.penalty)
        means, overall = self._means(every, chosen.caution)
        # What has no bound keeps no anchors: nothing would be read from them.
        anchors = self.anchors if chosen.quantile > 0 else self.anchors[:0]
        parts = [self.centre, self.scale, weights, bias, means, overall, anchors.numpy()]
        parts += [np.array([np.quantile(self.near, chosen.quantile)]), np.zeros((0, len(self.centre)))]
        head = Tasks(*(torch.from_numpy(np.asarray(part, np.float32)) for part in parts))
        plain, _ = self._means(every, 0.0)
        everywhere = replace(head, means=torch.from_numpy(plain).float(), anchors=head.anchors[:0])
        return TaskHead(head, everywhere, HeadForm("tasks", self.count, len(anchors)), chosen, trials)


def task_means(
    labels: Floats, task: Indices, count: int, caution: float = 0.0, prior: float = 0.0
) -> tuple[Floats, Floats]:
    """Means [T, L] of the workers on each task, and overall [L], from labels [Q, L] (NaN: not measured).

    Workers are compared on the same questions: what a question gives all of them is taken out first, so that a
    standard error is that of their differences.
    """
    level = np.nanmean(labels, axis=1, keepdims=True)
    own = labels - level
    overall = np.nan_to_num(np.nanmean(own, axis=0))
    means = np.zeros((count, labels.shape[1]))
    for each in range(count):
        some = own[task == each]
        seen = (~np.isnan(some)).sum(axis=0)
        if not len(some):
            means[each] = overall + level.mean()
            continue
        total = np.nansum(some, axis=0)
        mean = (total + prior * overall) / np.maximum(seen + prior, 1e-12)
        centre = total / np.maximum(seen, 1)
        spread = np.sqrt(np.nansum((some - centre) ** 2, axis=0) / np.maximum(seen - 1, 1))
        error = spread / np.sqrt(np.maximum(seen, 1))
        moved = mean - overall
        moved = np.sign(moved) * np.maximum(np.abs(moved) - caution * error, 0.0)
        means[each] = overall + moved + level[task == each].mean()
    return means, overall + float(level.mean())


def regress(standard: Floats, task: Indices, count: int, penalty: float, iterations: int) -> tuple[Floats, Floats]:
    """Multinomial logistic regression, its bias without penalty: states [Q, d], task [Q] → weights [T, d], bias [T]."""
    from scipy.optimize import minimize

    n, width = standard.shape
    x, wanted = standard.astype(np.float32), np.eye(count, dtype=np.float32)[task]
    share = (wanted.sum(axis=0) + 0.5) / (n + 0.5 * count)

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights, bias = flat[:-count].reshape(count, width), flat[-count:]
        logits = x @ weights.T.astype(np.float32) + bias.astype(np.float32)
        logits -= logsumexp(logits, axis=1, keepdims=True)
        slope = (np.exp(logits) - wanted) / n
        value = -float((wanted * logits).sum(dtype=np.float64)) / n + penalty / 2 * float((weights**2).sum())
        down = (slope.T @ x).astype(np.float64) + penalty * weights
        return value, np.concatenate([down.ravel(), slope.sum(axis=0, dtype=np.float64)])

    start = np.concatenate([np.zeros(count * width), np.log(share)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations}).x
    return found[:-count].reshape(count, width), found[-count:]


def clusters(standard: Floats, most: int, seed: int) -> Indices:
    """Groups of similar states, for questions that name no tasks: standardised states [Q, d] → [Q], fewer than `most`
    groups where they would hold under 50 questions."""
    from sklearn.cluster import KMeans

    count = max(1, min(most, len(standard) // 50))
    directions = unit(torch.from_numpy(standard)).numpy()
    found: Indices = KMeans(count, n_init=2, random_state=seed).fit_predict(directions).astype(np.intp)
    return np.unique(found, return_inverse=True)[1]
