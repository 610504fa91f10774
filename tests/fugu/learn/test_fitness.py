"""The fitness is the mean reward plus the released log's shaping terms."""

from __future__ import annotations

import numpy as np
import pytest

from models.fugu.learn.fitness import RolloutScore, Weights, fitness, shares, tally

SCORES = [
    RolloutScore(1.0, (0, 1), roles=(0, 2)),
    RolloutScore(0.0, (1,), cost_usd=0.2),
    RolloutScore(1.0, (0, 1, 0), roles=(1, 0, 2)),
]
TOTAL = tally(SCORES, 3)


def test_without_weights_it_is_the_mean_reward():
    assert fitness(TOTAL, 5, Weights()) == pytest.approx(2 / 3)


def test_shares_count_turns():
    assert np.allclose(shares(TOTAL.workers), [0.5, 0.5, 0.0])
    assert np.allclose(shares(TOTAL.roles), [0.4, 0.2, 0.4])


def test_tallies_of_other_rollouts_add_up():
    assert tally(SCORES[:1], 3) + tally(SCORES[1:], 3) == TOTAL


def test_each_term_counts_as_the_seed_says():
    plain = fitness(TOTAL, 5, Weights())
    entropy = np.log(2) / np.log(3)
    released = Weights(diversity=0.15, turns=0.10)
    assert fitness(TOTAL, 5, released) == pytest.approx(plain + 0.15 * entropy + 0.10 * 2 / 5)
    assert fitness(TOTAL, 5, Weights(cost=3.0)) == pytest.approx(plain - 3.0 * 0.2 / 3)


def test_one_worker_has_no_entropy():
    assert fitness(tally([RolloutScore(1.0, (0,))], 1), 5, Weights(diversity=1.0)) == 1.0
