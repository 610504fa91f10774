"""Learned rivals of a router, fitted on the train part: the field's usual ones, each with its penalty chosen inside it.

Ridge and reduced-rank ridge (the matrix factorisation of RouteLLM, arXiv 2406.18665, in closed form) predict each
worker's score; logistic regression predicts which worker is best (hard targets, as supervised routers are trained), or
each worker's success; a small network predicts all scores. Two controls: features of length and form alone, and
shuffled labels, which must gain nothing.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.evaluation.baselines import Choices, Part
from models.evaluation.metrics import Floats

RIDGE = "ridge"
LOW_RANK = "matrix factorisation"
PER_WORKER = "logistic per worker"
HARD = "hard argmax"
NETWORK = "small network"
FORM = "length and form only"
SHUFFLED = "shuffled labels"

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
RANKS = (1, 2, 3)
FOLDS = 3

Rival = Callable[[Part, Floats], Choices]
"""The choice [Q] of a rival that was fitted on a part, for features [Q, d]."""


def rivals(seed: int = 0) -> dict[str, Rival]:
    """Every rival by its name, each a function of the train part and the features of other questions."""
    return {
        RIDGE: lambda train, features: ridge(train, features, seed=seed),
        LOW_RANK: lambda train, features: ridge(train, features, RANKS, seed),
        PER_WORKER: per_worker,
        HARD: hard_argmax,
        NETWORK: lambda train, features: network(train, features, seed),
        SHUFFLED: lambda train, features: ridge(shuffled(train, seed), features, seed=seed),
    }


def ridge(train: Part, features: Floats, ranks: Sequence[int] = (0,), seed: int = 0) -> Choices:
    """Least squares of the scores on standardised features, the intercept free; penalty, and the rank of the weights
    [d, L] (0: full), by cross-validation on train."""
    fold = np.random.default_rng(seed).permutation(len(train.scores)) % min(FOLDS, len(train.scores))
    grid = [(penalty, rank) for penalty in PENALTIES for rank in ranks]
    totals = np.zeros(len(grid))
    for held in range(fold.max() + 1 if fold.max() else 0):
        valid = train.scores[fold == held]
        solve = _Ridge(train.rows(fold != held))
        for i, point in enumerate(grid):
            choice = solve(train.features[fold == held], *point).argmax(axis=1)
            totals[i] += valid[np.arange(len(valid)), choice].sum()
    return _Ridge(train)(features, *grid[int(totals.argmax())]).argmax(axis=1)


class _Ridge:
    """The eigenvectors of one train part's features, which every penalty and rank shares."""

    def __init__(self, train: Part) -> None:
        self.scale = Scale(train.features)
        x = self.scale(train.features)
        self.mean = train.scores.mean(axis=0)
        self.values, self.vectors = np.linalg.eigh(x.T @ x / len(x))
        self.slope = self.vectors.T @ (x.T @ (train.scores - self.mean)) / len(x)

    def __call__(self, features: Floats, penalty: float, rank: int) -> Floats:
        weights = self.vectors @ (self.slope / (np.maximum(self.values, 0) + penalty)[:, None])
        if rank:
            root = np.sqrt(np.maximum(self.values, 0) + penalty)[:, None]
            # The rank that loses least of the fit, not of the weights: reduced-rank regression.
            _, _, directions = np.linalg.svd(root * (self.vectors.T @ weights), full_matrices=False)
            weights = weights @ directions[:rank].T @ directions[:rank]
        return self.scale(features) @ weights + self.mean


class Scale:
    """Standardisation by one part's mean and spread."""

    def __init__(self, features: Floats) -> None:
        self.mean, self.spread = features.mean(axis=0), features.std(axis=0) + 1e-9

    def __call__(self, features: Floats) -> Floats:
        return (features - self.mean) / self.spread


def hard_argmax(train: Part, features: Floats) -> Choices:
    """Multinomial logistic regression on the best worker of each question; of several, the one that is best overall."""
    from sklearn.linear_model import LogisticRegression

    overall = train.scores.mean(axis=0)
    best = (train.scores + 1e-6 * overall).argmax(axis=1)
    if len(np.unique(best)) == 1:
        return np.full(len(features), best[0])
    scale = Scale(train.features)
    model = LogisticRegression(C=0.01, max_iter=200).fit(scale(train.features), best)
    return model.predict(scale(features)).astype(np.intp)


def per_worker(train: Part, features: Floats) -> Choices:
    """Logistic regression on each worker's success (a score of at least one half)."""
    from sklearn.linear_model import LogisticRegression

    scale = Scale(train.features)
    x, asked = scale(train.features), scale(features)
    chance = np.zeros((len(features), train.scores.shape[1]))
    for worker, scores in enumerate(train.scores.T):
        right = scores >= 0.5
        if right.all() or not right.any():
            chance[:, worker] = scores.mean()
        else:
            chance[:, worker] = LogisticRegression(C=0.003, max_iter=200).fit(x, right).predict_proba(asked)[:, 1]
    return chance.argmax(axis=1)


def network(train: Part, features: Floats, seed: int = 0) -> Choices:
    """One hidden layer of 64 units on all scores at once, stopped early on a tenth of train."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    scale = Scale(train.features)
    early = len(train.scores) >= 50
    model = MLPRegressor(hidden_layer_sizes=(64,), alpha=1.0, early_stopping=early, max_iter=60, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is stopped on purpose
        model.fit(scale(train.features), train.scores)
    return np.atleast_2d(model.predict(scale(features)).reshape(len(features), -1)).argmax(axis=1)


def shuffled(train: Part, seed: int = 0) -> Part:
    """The part with its questions' scores dealt anew."""
    order = np.random.default_rng(seed).permutation(len(train.scores))
    return replace(train.rows(order), features=train.features)


def form_features(texts: Sequence[str]) -> NDArray[np.float64]:
    """What a text's form says without its meaning, [Q, 8]: lengths, lines, digits, capitals, signs, options, code."""
    rows = []
    for text in texts:
        letters = max(len(text), 1)
        rows.append(
            [
                np.log1p(len(text)),
                np.log1p(len(text.split())),
                np.log1p(text.count("\n")),
                sum(character.isdigit() for character in text) / letters,
                sum(character.isupper() for character in text) / letters,
                sum(not character.isalnum() and not character.isspace() for character in text) / letters,
                len(re.findall(r"(?m)^\s*\(?[A-J][).:]", text)),
                len(re.findall(r"\b(?:def|return|class|import)\b|```", text)),
            ]
        )
    return np.array(rows, np.float64).reshape(len(texts), 8)
