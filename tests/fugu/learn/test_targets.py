"""Targets are distributions that keep the labels' order; KL is zero only at the target."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, xlogy

from models.errors import BadInput
from models.fugu.learn.targets import cross_entropy, shrink, soft_targets


def forward_kl(targets, logits):
    """Mean over questions of KL(targets ‖ softmax(logits)), in nats; both [Q, L]."""
    return float((xlogy(targets, targets) - targets * log_softmax(logits, axis=1)).sum(axis=1).mean())


unit = st.floats(0, 1, width=32)
labels = st.tuples(st.integers(1, 12), st.integers(2, 6)).flatmap(lambda s: arrays(np.float64, s, elements=unit))
temperatures = st.floats(0.02, 5)


@given(labels, temperatures)
@settings(max_examples=60, deadline=None)
def test_targets_are_distributions_in_the_order_of_the_labels(values, temperature):
    targets = soft_targets(values, temperature)
    assert np.allclose(targets.sum(axis=1), 1) and (targets >= 0).all()
    best = np.take_along_axis(targets, values.argmax(axis=1)[:, None], 1)[:, 0]
    assert np.allclose(best, targets.max(axis=1))


@given(labels, st.floats(-3, 3))
@settings(max_examples=40, deadline=None)
def test_only_differences_between_workers_matter(values, offset):
    assert np.allclose(soft_targets(values + offset, 0.2), soft_targets(values, 0.2), atol=1e-9)


def test_a_low_temperature_picks_the_best_and_a_high_one_shares_evenly():
    values = np.array([[0.2, 0.9, 0.5]])
    assert soft_targets(values, 0.01)[0, 1] > 0.999
    assert np.allclose(soft_targets(values, 1e4), 1 / 3, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(BadInput, match="temperature"):
        soft_targets(np.ones((1, 2)), temperature)


def test_a_missing_label_is_refused():
    with pytest.raises(BadInput, match="every worker"):
        soft_targets(np.array([[0.1, np.nan]]), 0.1)


@given(labels, temperatures, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_kl_is_positive_and_zero_at_the_target(values, temperature, seed):
    targets = soft_targets(values, temperature)
    logits = np.random.default_rng(seed).standard_normal(values.shape)
    assert forward_kl(targets, logits) >= -1e-12
    assert forward_kl(targets, values / temperature) == pytest.approx(0, abs=1e-9)


def test_torch_loss_is_kl_plus_the_entropy_of_the_targets():
    draws = np.random.default_rng(0)
    targets, logits = soft_targets(draws.random((8, 4)), 0.3), draws.standard_normal((8, 4))
    entropy = -(targets * np.log(targets)).sum(axis=1).mean()
    loss = cross_entropy(torch.tensor(targets), torch.tensor(logits))
    assert float(loss) == pytest.approx(forward_kl(targets, logits) + entropy)


@given(labels, st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_shrinking_keeps_every_task_mean_and_ends_at_it(values, seed):
    tasks = np.random.default_rng(seed).choice(["a", "b"], len(values))
    assert np.array_equal(shrink(values, tasks, 0), values)
    half, full = shrink(values, tasks, 0.5), shrink(values, tasks, 1)
    for task in np.unique(tasks):
        mean = values[tasks == task].mean(axis=0)
        assert np.allclose(half[tasks == task].mean(axis=0), mean) and np.allclose(full[tasks == task], mean)


def test_shrinking_brings_noisy_labels_nearer_to_the_truth():
    draws = np.random.default_rng(0)
    tasks = np.repeat(["a", "b"], 100)
    truth = np.where(tasks[:, None] == "a", [0.8, 0.3], [0.2, 0.6])
    measured = (draws.random(truth.shape) < truth).astype(float)
    assert np.abs(shrink(measured, tasks, 0.8) - truth).mean() < np.abs(measured - truth).mean() / 2
