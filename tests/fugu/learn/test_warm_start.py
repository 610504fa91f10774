"""On simulated pools with a known oracle the head finds the specialists, without a bias and through noise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.special import log_softmax, xlogy

from models.errors import BadInput
from models.fugu.learn.targets import soft_targets
from models.fugu.learn.warm_start import HeadOptions, fit_head


def forward_kl(targets, logits):
    """Mean over questions of KL(targets ‖ softmax(logits)), in nats; both [Q, L]."""
    return float((xlogy(targets, targets) - targets * log_softmax(logits, axis=1)).sum(axis=1).mean())


POINT = HeadOptions(temperatures=(0.1,), shrinkages=(0.5,), penalties=(0.1,))
CHANCE = {"sums": [0.5, 0.8, 0.2], "words": [0.5, 0.2, 0.8], "facts": [0.5, 0.4, 0.3]}


def simulated(n: int, seed: int, width: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features [n, width], one noisy 0/1 label per cell, tasks, and the expected scores behind the labels."""
    draws = np.random.default_rng(seed)
    tasks = draws.choice(list(CHANCE), n)
    centres = {task: 4 * np.eye(width)[i] for i, task in enumerate(CHANCE)}
    features = np.stack([centres[t] for t in tasks]) + draws.standard_normal((n, width))
    expected = np.array([CHANCE[t] for t in tasks])
    return features, (draws.random(expected.shape) < expected).astype(float), tasks, expected


def closed(weights: np.ndarray, features: np.ndarray, expected: np.ndarray) -> float:
    """The part of the gap between best single worker and oracle that the argmax choice closes."""
    score = expected[np.arange(len(expected)), (features @ weights.T).argmax(axis=1)].mean()
    single = expected.mean(axis=0).max()
    return (score - single) / (expected.max(axis=1).mean() - single)


FEATURES, LABELS, TASKS, EXPECTED = simulated(500, 0)
HELD_FEATURES, _, _, HELD_EXPECTED = simulated(500, 1)


def test_the_head_closes_most_of_the_gap_on_held_out_questions():
    head = fit_head(FEATURES, LABELS, TASKS)
    assert head.weights.shape == (3, 40) and head.weights.dtype == np.float32
    assert closed(head.weights, HELD_FEATURES, HELD_EXPECTED) > 0.75


def test_the_grid_is_searched_and_the_best_point_chosen():
    options = HeadOptions(temperatures=(0.05, 1.0), shrinkages=(0.0, 0.8), penalties=(1e-6, 0.1))
    head = fit_head(FEATURES, LABELS, TASKS, options)
    assert len(head.trials) == 8 and head.chosen.score == max(t.score for t in head.trials)
    assert 0 < head.chosen.score <= 1


def test_regularisation_and_shrinkage_beat_the_plain_fit_on_noisy_labels():
    plain = HeadOptions(temperatures=(0.3,), shrinkages=(0.0,), penalties=(1e-7,), iterations=500)
    few = slice(0, 120)
    loose = fit_head(FEATURES[few], LABELS[few], TASKS[few], plain)
    chosen = fit_head(FEATURES[few], LABELS[few], TASKS[few])
    gain = closed(chosen.weights, HELD_FEATURES, HELD_EXPECTED) - closed(loose.weights, HELD_FEATURES, HELD_EXPECTED)
    assert gain > 0.1


def test_a_fit_is_repeatable():
    first, second = (fit_head(FEATURES, LABELS, TASKS, POINT) for _ in range(2))
    assert np.array_equal(first.weights, second.weights) and np.isnan(first.chosen.score)


@pytest.mark.parametrize("length", [25, 1000])
def test_a_shared_mean_serves_as_the_intercept(length):
    """The best single worker is constant: only an intercept can say so, and a large common mean is one."""
    draws = np.random.default_rng(2)
    features = draws.standard_normal((300, 20))
    labels = (draws.random((300, 3)) < [0.3, 0.8, 0.3]).astype(float)
    tasks = np.full(300, "t")
    mean = length * draws.standard_normal(20)
    with_mean = fit_head(features + mean, labels, tasks, POINT).weights
    without = fit_head(features, labels, tasks, POINT).weights
    fresh = draws.standard_normal((300, 20))
    assert ((fresh + mean) @ with_mean.T).argmax(axis=1).tolist() == [1] * 300
    assert (((fresh @ without.T).argmax(axis=1)) == 1).mean() < 0.9


def test_the_scale_of_a_feature_does_not_matter():
    scale = np.geomspace(1e-3, 1e3, FEATURES.shape[1])
    plain = fit_head(FEATURES, LABELS, TASKS, POINT).weights
    scaled = fit_head(FEATURES * scale, LABELS, TASKS, POINT).weights
    assert np.allclose(scaled * scale, plain, atol=2e-3)


def test_constant_and_zero_features_do_no_harm():
    padded = np.hstack([FEATURES, np.zeros((len(FEATURES), 1)), np.full((len(FEATURES), 1), 7.0)])
    head = fit_head(padded, LABELS, TASKS, POINT)
    assert np.isfinite(head.weights).all()
    held = np.hstack([HELD_FEATURES, np.zeros((500, 1)), np.full((500, 1), 7.0)])
    assert closed(head.weights, held, HELD_EXPECTED) > 0.75


def test_more_workers_than_anyone_needs_and_more_features_than_questions_fit():
    draws = np.random.default_rng(3)
    head = fit_head(draws.standard_normal((12, 50)), draws.random((12, 9)), ["t"] * 12)
    assert head.weights.shape == (9, 50) and np.isfinite(head.weights).all()


def test_the_fit_reaches_the_minimum_of_its_loss():
    options = dataclasses.replace(POINT, shrinkages=(0.0,), iterations=200)
    weights = fit_head(FEATURES, LABELS, TASKS, options).weights.astype(float)
    targets, spread = soft_targets(LABELS, 0.1), FEATURES.std(axis=0)

    def loss(w: np.ndarray) -> float:
        return forward_kl(targets, FEATURES @ w.T) + 0.05 * float(((w * spread) ** 2).sum())

    draws = np.random.default_rng(0)
    nudges = [1e-2 * draws.standard_normal(weights.shape) for _ in range(10)]
    assert all(loss(weights) < loss(weights + nudge) for nudge in nudges)


@pytest.mark.parametrize(
    ("features", "labels", "tasks"),
    [
        (FEATURES[:-1], LABELS, TASKS),
        (FEATURES, LABELS, TASKS[:-1]),
        (np.full_like(FEATURES, np.nan), LABELS, TASKS),
        (FEATURES, np.full_like(LABELS, np.nan), TASKS),
        (FEATURES[:2], LABELS[:2], TASKS[:2]),
    ],
)
def test_arrays_that_do_not_fit_have_holes_or_are_too_short_are_refused(features, labels, tasks):
    with pytest.raises(BadInput):
        fit_head(features, labels, tasks)
