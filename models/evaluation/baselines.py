"""Baselines that a router is compared with, each fitted on the train part and evaluated on the test part.

A static table of workers per task is the strong simple baseline, kNN the strong learned one; the oracle is the upper
bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import BadInput
from models.evaluation.metrics import Entry, Floats, entry
from models.evaluation.noise import corrected_oracle

BEST_SINGLE = "best single"
RANDOM = "random"
CHEAPEST = "cheapest"
TASK_PREDICTED = "task table (predicted)"
TASK_TRUE = "task table (true task)"
KNN = "kNN"
ORACLE = "oracle"

Choices = NDArray[np.intp]


@dataclass(frozen=True)
class Part:
    """Measured questions: `scores` [Q, W] in [0, 1] (means over repeats), `features` [Q, d], `tasks` [Q],
    `costs` [Q, W] in USD; where they are known, `tokens` [Q, W], and the score of each repeat, `repeats` [Q, W, R] (two
    or more of each, NaN where there were fewer than R). Raises BadInput where shapes differ or a number is missing."""

    scores: Floats
    features: Floats
    tasks: NDArray[np.str_]
    costs: Floats
    tokens: Floats | None = None
    repeats: Floats | None = None

    def __post_init__(self) -> None:
        if not len(self.scores) == len(self.features) == len(self.tasks) or self.scores.shape != self.costs.shape:
            raise BadInput("scores, features, tasks and costs name different questions or workers", "scores")
        if not len(self.scores):
            raise BadInput("a part has no questions", "scores")
        if not all(np.isfinite(array).all() for array in (self.scores, self.features, self.costs)):
            raise BadInput("scores, features and costs must be finite: every worker on every question", "scores")

    def rows(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Part:
        """The part's questions at these rows."""
        of = self.scores[index], self.features[index], self.tasks[index], self.costs[index]
        return Part(*of, *(None if each is None else each[index] for each in (self.tokens, self.repeats)))


def baselines(train: Part, test: Part, workers: Sequence[str], seed: int = 0) -> list[Entry]:
    """Every baseline's entry on `test`: each worker by its name, then the policies named above, and where replies were
    repeated the noise-corrected oracle."""
    n, width = test.scores.shape
    policies: dict[str, NDArray[np.number]] = {name: np.full(n, i) for i, name in enumerate(workers)}
    policies[BEST_SINGLE] = np.full(n, best_single(train))
    policies[RANDOM] = np.full((n, width), 1 / width)
    if train.costs.any():  # an unpriced pool has no cheapest worker
        policies[CHEAPEST] = np.full(n, cheapest(train))
    policies[TASK_PREDICTED] = task_table(train, predict_tasks(train, test.features))
    policies[TASK_TRUE] = task_table(train, test.tasks)
    policies[KNN] = knn(train, test.features, seed=seed)
    policies[ORACLE] = oracle(test)
    entries = [entry(name, policy, test.scores, test.costs, test.tokens) for name, policy in policies.items()]
    return entries if test.repeats is None else [*entries, corrected_oracle(test.repeats, test.costs)]


def best_single(train: Part) -> int:
    """The worker with the highest mean score on train; if tied, the first."""
    return int(train.scores.mean(axis=0).argmax())


def cheapest(train: Part) -> int:
    """The worker with the lowest mean cost on train; if tied, the one with the highest mean score."""
    order = np.lexsort((-train.scores.mean(axis=0), train.costs.mean(axis=0)))
    return int(order[0])


def oracle(test: Part) -> Choices:
    """The worker with the highest score on each test question, if tied the cheapest: an upper bound, not a policy."""
    tied = test.scores >= test.scores.max(axis=1, keepdims=True) - 1e-12
    return np.where(tied, test.costs, np.inf).argmin(axis=1)


def task_table(train: Part, tasks: NDArray[np.str_]) -> Choices:
    """The worker with the highest mean score on train for each of `tasks` [Q]; for an unseen task the best single."""
    best = {task: int(train.scores[train.tasks == task].mean(axis=0).argmax()) for task in np.unique(train.tasks)}
    fallback = best_single(train)
    return np.array([best.get(task, fallback) for task in tasks], dtype=np.intp)


def predict_tasks(train: Part, features: Floats) -> NDArray[np.str_]:
    """The task of each question by linear discriminant analysis of standardised features, its covariance shrunken.

    In one fold of LLMRouter's questions it was right more often than logistic regression (0.885, 0.864), in a fifth of
    the time."""
    if len(np.unique(train.tasks)) == 1:
        return np.full(len(features), train.tasks[0])
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.05))
    return model.fit(np.asarray(train.features, np.float64), train.tasks).predict(features)


NEIGHBOURS = (1, 3, 5, 10, 20, 40, 80, 160)


def knn(train: Part, features: Floats, grid: Sequence[int] = NEIGHBOURS, folds: int = 5, seed: int = 0) -> Choices:
    """The worker with the highest mean score among the k nearest train questions, by cosine of standardised
    features; k from `grid` by cross-validation on train (mean score of the choices)."""
    folds = min(folds, len(train.scores))  # a fold without questions would have no neighbours to look for
    fold = np.random.default_rng(seed).permutation(len(train.scores)) % folds
    grid = [k for k in grid if k <= (fold != 0).sum()] or [1]
    totals = np.zeros(len(grid))
    for held in range(folds if len(grid) > 1 else 0):
        valid = train.scores[fold == held]
        means = _neighbour_means(train.rows(fold != held), train.features[fold == held], grid)
        for i, mean in enumerate(means):
            totals[i] += valid[np.arange(len(valid)), mean.argmax(axis=1)].sum()
    k = grid[int(totals.argmax())]
    return next(_neighbour_means(train, features, [k])).argmax(axis=1)


def _neighbour_means(train: Part, features: Floats, grid: Sequence[int]) -> Iterator[Floats]:
    """For each k of `grid`, the mean scores [Q, W] of the k nearest train questions."""
    from sklearn.neighbors import NearestNeighbors

    centre, spread = train.features.mean(axis=0), train.features.std(axis=0) + 1e-9
    index = NearestNeighbors(n_neighbors=max(grid), algorithm="brute")
    index.fit(_directions(train.features, centre, spread))
    nearest = index.kneighbors(_directions(features, centre, spread), return_distance=False)
    prior = 1e-6 * train.scores.mean(axis=0)  # breaks ties in favour of the worker that is better overall
    for k in grid:
        yield train.scores[nearest[:, :k]].mean(axis=1) + prior


def _directions(features: Floats, centre: Floats, spread: Floats) -> Floats:
    """The features standardised and scaled to unit length, whose Euclidean neighbours are the cosine neighbours."""
    z = (features - centre) / spread
    return (z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)).astype(np.float32)
