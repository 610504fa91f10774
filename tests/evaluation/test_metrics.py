"""Intervals are paired and cover; figures agree with their definitions on pools whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.errors import BadInput
from models.evaluation.metrics import (
    Entry,
    bootstrap,
    concatenate,
    cost_per_1000,
    difference,
    entry,
    gap_closed,
    interval,
)

unit = st.floats(0, 1, width=32)
pools = st.tuples(st.integers(1, 20), st.integers(1, 5)).flatmap(lambda shape: arrays(np.float64, shape, elements=unit))


def plain(name: str, scores: np.ndarray) -> Entry:
    return Entry(name, scores, np.zeros(len(scores)), np.ones((len(scores), 1)))


@given(pools)
@settings(max_examples=50, deadline=None)
def test_no_policy_beats_the_oracle(scores):
    best = entry("oracle", scores.argmax(axis=1), scores)
    uniform = entry("random", np.full(scores.shape, 1 / scores.shape[1]), scores)
    assert uniform.scores.mean() <= best.scores.mean() + 1e-12


@given(pools)
@settings(max_examples=50, deadline=None)
def test_one_hot_probabilities_are_the_same_policy_as_indices(scores):
    choices = scores.argmin(axis=1)
    by_index = entry("a", choices, scores, scores / 10)
    by_share = entry("a", np.eye(scores.shape[1])[choices], scores, scores / 10)
    assert np.array_equal(by_index.scores, by_share.scores) and np.array_equal(by_index.costs, by_share.costs)
    assert np.allclose(by_index.shares.sum(axis=1), 1)


def test_a_difference_to_itself_is_exactly_zero_and_it_is_antisymmetric():
    draws = np.random.default_rng(0)
    a, b = plain("a", draws.random(50)), plain("b", draws.random(50))
    assert difference(a, a) == (0, 0, 0)
    there, back = difference(a, b), difference(b, a)
    assert there.value == -back.value and there.low == pytest.approx(-back.high)


def test_pairing_narrows_the_interval_where_questions_differ_more_than_policies():
    draws = np.random.default_rng(1)
    hardness = draws.random(400)
    a, b = plain("a", hardness), plain("b", np.clip(hardness - 0.02 + 0.01 * draws.standard_normal(400), 0, 1))
    paired = difference(a, b)
    alone = interval(a.scores.mean(), bootstrap(a.scores[:, None])[:, 0])
    assert paired.low > 0 and (paired.high - paired.low) < (alone.high - alone.low) / 5


def test_the_interval_covers_the_truth_about_19_times_in_20():
    draws = np.random.default_rng(2)
    values = (draws.random((150, 300)) < 0.7).astype(float)
    covered = 0
    for column in values.T:
        low, high = np.percentile(bootstrap(column[:, None], 200), [2.5, 97.5])
        covered += low <= 0.7 <= high
    assert 0.89 <= covered / 300 <= 0.99


def test_the_bootstrap_is_seeded_and_resamples_columns_together():
    values = np.random.default_rng(3).random((30, 1)) * [1, 2]
    means = bootstrap(values, 250, seed=5)
    assert np.array_equal(means, bootstrap(values, 250, seed=5)) and means.shape == (250, 2)
    assert np.allclose(means[:, 1], 2 * means[:, 0]) and not np.array_equal(means, bootstrap(values, 250, seed=6))
    assert means[:, 0].std() == pytest.approx(values[:, 0].std() / np.sqrt(30), rel=0.2)


def test_gap_closed_is_0_at_best_single_1_at_the_oracle_and_undefined_without_a_gap():
    assert gap_closed(0.5, 0.5, 0.9) == 0 and gap_closed(0.9, 0.5, 0.9) == 1
    assert gap_closed(0.4, 0.5, 0.9) == pytest.approx(-0.25)
    assert np.isnan(gap_closed(0.5, 0.5, 0.5))


def test_money_is_counted_per_thousand():
    scores, costs = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[0.001, 0.003], [0.001, 0.003]])
    dear = entry("dear", np.array([1, 1]), scores, costs)
    assert cost_per_1000(dear) == pytest.approx(3)


def test_folds_are_pooled_by_name_and_must_hold_the_same_entries():
    a, b = plain("a", np.array([0.1])), plain("b", np.array([0.2]))
    pooled = concatenate([[a, b], [plain("a", np.array([0.3, 0.4])), b]])
    assert pooled[0].scores.tolist() == [0.1, 0.3, 0.4] and pooled[1].scores.tolist() == [0.2, 0.2]
    with pytest.raises(BadInput):
        concatenate([[a, b], [b, a]])


@pytest.mark.parametrize("policy", [np.array([0, 2]), np.array([-1, 0]), np.array([0]), np.ones((2, 3)) / 3])
def test_a_policy_that_does_not_fit_the_pool_is_refused(policy):
    with pytest.raises(BadInput, match="p: "):
        entry("p", policy, np.zeros((2, 2)))
