"""The fitness is the mean reward plus the released log's shaping terms."""

from __future__ import annotations

import numpy as np
import pytest

from models.fugu.fitness import RolloutScore, Weights, fitness, worker_shares

SCORES = [RolloutScore(1.0, (0, 1)), RolloutScore(0.0, (1,), cost_usd=0.2), RolloutScore(1.0, (0, 1, 0))]


def test_without_weights_it_is_the_mean_reward():
    assert fitness(SCORES, 3, 5, Weights()) == pytest.approx(2 / 3)


def test_shares_count_turns():
    assert np.allclose(worker_shares(SCORES, 3), [0.5, 0.5, 0.0])


def test_each_term_counts_as_the_seed_says():
    plain = fitness(SCORES, 3, 5, Weights())
    entropy = np.log(2) / np.log(3)
    released = Weights(diversity=0.15, turns=0.10)
    assert fitness(SCORES, 3, 5, released) == pytest.approx(plain + 0.15 * entropy + 0.10 * 2 / 5)
    assert fitness(SCORES, 3, 5, Weights(cost=3.0)) == pytest.approx(plain - 3.0 * 0.2 / 3)


def test_one_worker_has_no_entropy():
    assert fitness([RolloutScore(1.0, (0,))], 1, 5, Weights(diversity=1.0)) == 1.0
