"""Successive halving: twice as many rollouts a rung, the better half goes on, and the ranking says who went further."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import BadInput
from models.fugu.learn.fitness import RolloutScore, Weights, fitness, tally
from models.fugu.learn.halving import ladder, promoted, race, reported_fitnesses


def test_rungs_double_and_end_with_all():
    assert ladder(512, 1) == [512]
    assert ladder(512, 4) == [64, 128, 256, 512]
    assert ladder(7, 3) == [1, 3, 7]


def test_a_rung_without_a_rollout_is_refused():
    with pytest.raises(BadInput, match="rungs"):
        ladder(3, 3)


def test_the_better_half_goes_on_in_order_and_the_earlier_of_equals():
    assert promoted([0.1, 0.9, 0.5, 0.7], [0, 1, 2, 3]) == [1, 3]
    assert promoted([0.1, 0.9, 0.5, 0.7], [0, 1, 2]) == [1, 2]
    assert promoted([0.5, 0.5, 0.5], [0, 1, 2]) == [0, 1]


def test_with_one_rung_the_fitnesses_are_told_as_they_are():
    assert reported_fitnesses([0.3, 0.1, 0.2], [0, 0, 0]) == [0.3, 0.1, 0.2]


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=20))
def test_who_went_further_ranks_higher_and_the_order_inside_a_rung_stays(candidates):
    fitnesses, reached = zip(*candidates, strict=True)
    lowered = np.array(reported_fitnesses(fitnesses, reached))
    for i, (f, r) in enumerate(candidates):
        for j, (g, s) in enumerate(candidates):
            if r > s:
                assert lowered[i] > lowered[j]
            if r == s and f - g > 1e-6:
                assert lowered[i] > lowered[j]
    assert (lowered <= np.array(fitnesses)).all()


REWARDS = np.random.default_rng(0).random((8, 16))


async def run(rungs):
    """The race over fixed rewards: what is told, the totals, and which (candidate, slot) were rolled out."""
    rolled = []

    async def score(going, part):
        rolled.extend((i, slot) for i in going for slot in range(part.start, part.stop))
        return [tally([RolloutScore(r, (0,)) for r in REWARDS[i, part]], 2) for i in going]

    fitnesses, totals = await race(8, 16, rungs, score, lambda total: fitness(total, 5, Weights()))
    assert len(set(rolled)) == len(rolled)
    return fitnesses, totals, rolled


async def test_a_race_of_one_rung_is_the_full_evaluation():
    fitnesses, totals, rolled = await run(1)
    assert np.allclose(fitnesses, REWARDS.mean(axis=1))
    assert len(rolled) == 8 * 16 and all(total.rollouts == 16 for total in totals)


async def test_a_race_rolls_out_half_and_its_winner_has_every_rollout():
    fitnesses, totals, rolled = await run(3)
    assert len(rolled) == 8 * 4 + 4 * 4 + 2 * 8
    assert sorted(total.rollouts for total in totals) == [4] * 4 + [8] * 2 + [16] * 2
    winner = int(np.argmax(fitnesses))
    assert totals[winner].rollouts == 16
    assert fitnesses[winner] == pytest.approx(REWARDS[winner].mean())
    assert min(f for f, t in zip(fitnesses, totals, strict=True) if t.rollouts == 16) > max(
        f for f, t in zip(fitnesses, totals, strict=True) if t.rollouts < 16
    )


@pytest.mark.parametrize("rungs", [1, 3])
async def test_a_candidate_that_cannot_be_rolled_out_is_told_as_the_worst_and_not_asked_again(rungs):
    asked = []

    async def score(going, part):
        asked.append(list(going))
        scores = [[] if i in (0, 5) else [RolloutScore(0.0, (0,), 1.0)] * (part.stop - part.start) for i in going]
        return [tally(rolled_out, 2) for rolled_out in scores]

    # Whoever is rolled out costs something, so that nothing at all would be the best.
    fitnesses, totals = await race(8, 16, rungs, score, lambda total: fitness(total, 5, Weights(cost=1.0)))
    assert np.isfinite(fitnesses).all()
    assert max(fitnesses[0], fitnesses[5]) < min(f for i, f in enumerate(fitnesses) if i not in (0, 5))
    assert not any(0 in going or 5 in going for going in asked[1:])
    assert [total.rollouts for total in totals].count(0) == 2


async def test_a_generation_of_which_nobody_can_be_rolled_out_is_told_too():
    async def score(going, part):
        return [tally([], 2) for _ in going]

    fitnesses, totals = await race(4, 16, 3, score, lambda total: fitness(total, 5, Weights(diversity=1.0)))
    assert fitnesses == [0.0] * 4 and sum(total.rollouts for total in totals) == 0
