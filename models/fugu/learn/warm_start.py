"""Stage 1: a router's head, fitted to labels before any rollout (adapt.py then trains the offsets).

The head has no bias, like TRINITY's released one. It is fitted on features that are divided by their standard
deviation but not centred, and the division is folded back into the weights: the mean that all hidden states share
serves as the intercept, at a penalty that falls with its length.

An unregularised fit does not beat the best single worker on recorded scores (data/EXPERIMENTS.md); a penalty,
labels shrunken towards their task's mean and a low temperature do. All three are chosen by cross-validation on
the training questions, by the mean score of the worker with the largest logit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from models.errors import BadInput
from models.fugu.learn.targets import Floats, shrink, soft_targets


@dataclass(frozen=True)
class HeadOptions:
    """The grid that cross-validation searches. With a single value in each there is no search.

    `penalties`: λ of λ/2 ‖W‖² on scaled features, beside the mean loss per question.
    `shrinkages`: how far labels are moved towards their task's mean. `iterations`: of L-BFGS, per fit.
    """

    temperatures: tuple[float, ...] = (0.03, 0.1, 0.3)
    shrinkages: tuple[float, ...] = (0.0, 0.5, 0.8)
    penalties: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    folds: int = 3
    iterations: int = 15
    seed: int = 0


FEW = HeadOptions(temperatures=(0.3,), shrinkages=(0.8,), penalties=(1.0,))
"""For fewer questions than folds: nothing can be chosen, so the most cautious point of the grid."""


@dataclass(frozen=True)
class Trial:
    """One point of the grid and its cross-validated mean score (NaN if the grid has a single point)."""

    temperature: float
    shrinkage: float
    penalty: float
    score: float

    def targets(self, labels: Floats, tasks: NDArray[np.str_]) -> Floats:
        """The targets of a fit at this point: labels [Q, L] and tasks [Q] → soft targets [Q, L]."""
        return soft_targets(shrink(labels, tasks, self.shrinkage), self.temperature)


@dataclass(frozen=True)
class Head:
    """`weights` [L, d] float32 on raw features, the chosen point, and all points that were tried."""

    weights: NDArray[np.float32]
    chosen: Trial
    trials: tuple[Trial, ...]


def fit_head(
    features: Floats, labels: Floats, tasks: Sequence[str] | NDArray[np.str_], options: HeadOptions | None = None
) -> Head:
    """Choose τ, shrinkage and penalty by cross-validation, then fit on all questions.

    features [Q, d], labels [Q, L] in [0, 1], tasks [Q]. Raises BadInput for shapes that do not fit, values that
    are not finite, or fewer questions than folds.
    """
    options = options or HeadOptions()
    features, labels, tasks = _checked(features, labels, tasks, options)
    # Small products, thousands of them: BLAS threads wait for each other longer than they compute (22 s against 1 s
    # on two cores beside another busy process).
    with threadpool_limits(1, "blas"):
        return _fit(features, labels, tasks, options)


def _fit(features: Floats, labels: Floats, tasks: NDArray[np.str_], options: HeadOptions) -> Head:
    fold = np.random.default_rng(options.seed).permutation(len(labels)) % options.folds
    grid = _grid(options)
    scores = np.full(len(grid), np.nan if len(grid) == 1 else 0.0)
    for held in range(options.folds if len(grid) > 1 else 0):
        train, valid = fold != held, fold == held
        design = _Design(features[train], options.iterations)
        for i, point in enumerate(grid):
            weights = design.fit(point.targets(labels[train], tasks[train]), point.penalty)
            choice = (features[valid] @ weights.T).argmax(axis=1)
            scores[i] += labels[valid][np.arange(len(choice)), choice].sum() / len(labels)
    trials = tuple(Trial(p.temperature, p.shrinkage, p.penalty, float(s)) for p, s in zip(grid, scores, strict=True))
    chosen = max(trials, key=lambda trial: trial.score)
    weights = _Design(features, options.iterations).fit(chosen.targets(labels, tasks), chosen.penalty)
    return Head(weights.astype(np.float32), chosen, trials)


def _grid(options: HeadOptions) -> list[Trial]:
    points = product(options.temperatures, options.shrinkages, options.penalties)
    return [Trial(*point, score=float("nan")) for point in points]


def _checked(
    features: Floats, labels: Floats, tasks: Sequence[str] | NDArray[np.str_], options: HeadOptions
) -> tuple[Floats, Floats, NDArray[np.str_]]:
    tasks = np.asarray(tasks)
    if features.ndim != 2 or labels.ndim != 2 or not len(features) == len(labels) == len(tasks):
        raise BadInput("features [Q, d], labels [Q, L] and tasks [Q] must name the same questions", "features")
    if not np.isfinite(features).all() or not np.isfinite(labels).all():
        raise BadInput("features and labels must be finite: every worker measured on every question", "labels")
    if not len(labels):
        raise BadInput("there is no question to fit a head on", "labels")
    if len(_grid(options)) > 1 and (len(labels) < options.folds or options.folds < 2):
        raise BadInput(f"{len(labels)} questions are too few for {options.folds} folds", "folds")
    return np.asarray(features, np.float64), np.asarray(labels, np.float64), tasks


class _Design:
    """The features of one fit, scaled once for every point of the grid."""

    def __init__(self, features: Floats, iterations: int) -> None:
        spread = features.std(axis=0)
        widest = float(spread.max()) if spread.max() > 1e-12 else 1.0  # a single question has no spread
        self._scale = np.where(spread > 1e-6 * widest, spread, widest)
        scaled = features / self._scale
        self._gram = scaled.T @ scaled / len(features)  # in fp64: a large common mean would drown the rest
        self._x = scaled.astype(np.float32)  # half the memory traffic, in the loop
        self._iterations = iterations

    def fit(self, targets: Floats, penalty: float) -> NDArray[np.float64]:
        """Ridge start, then forward KL + penalty by L-BFGS: targets [Q, L] → weights [L, d] on raw features."""
        from scipy.linalg import cholesky, solve_triangular
        from scipy.optimize import minimize  # takes half a second to import: not for every flow

        x, n, (d, width) = self._x, len(targets), (len(self._gram), targets.shape[1])
        curvature = self._gram / 2 + penalty * np.eye(d)  # bounds the Hessian of the softmax (Böhning 1992)
        lower = cholesky(curvature, lower=True)  # L-BFGS in these coordinates is well conditioned
        soft = targets.astype(np.float32)

        def loss(flat: Floats) -> tuple[float, Floats]:
            weights = solve_triangular(lower, flat.reshape(d, width), trans="T", lower=True)
            logits = x @ weights.astype(np.float32)
            logits -= logits.max(axis=1, keepdims=True)
            policy = np.exp(logits)
            total = policy.sum(axis=1, keepdims=True)
            policy /= total
            slope = (x.T @ (policy - soft)).astype(np.float64) / n + penalty * weights
            value = float(np.log(total).sum(dtype=np.float64) - (soft * logits).sum(dtype=np.float64)) / n
            value += penalty / 2 * float((weights**2).sum())
            return value, solve_triangular(lower, slope, lower=True).ravel()

        start = (lower.T @ self._ridge(targets, penalty)).ravel()
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": self._iterations})
        weights = solve_triangular(lower, found.x.reshape(d, width), trans="T", lower=True)
        return (weights / self._scale[:, None]).T

    def _ridge(self, targets: Floats, penalty: float) -> Floats:
        """One Newton step from zero, where every worker is equally likely: least squares on the targets."""
        from scipy.linalg import cho_factor, cho_solve

        width = targets.shape[1]
        centred = (targets - 1 / width).astype(np.float32)
        factor = cho_factor(self._gram / width + penalty * np.eye(len(self._gram)))
        return cho_solve(factor, (self._x.T @ centred).astype(np.float64) / len(targets))
