"""Successive halving: twice as many rollouts a rung, the better half goes on, and the ranking says who went further."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import BadInput
from models.fugu.halving import promoted, rungs, told


def test_rungs_double_and_end_with_all():
    assert rungs(512, 1) == [512]
    assert rungs(512, 4) == [64, 128, 256, 512]
    assert rungs(7, 3) == [1, 3, 7]


def test_a_rung_without_a_rollout_is_refused():
    with pytest.raises(BadInput, match="rungs"):
        rungs(3, 3)


def test_the_better_half_goes_on_in_order_and_the_earlier_of_equals():
    assert promoted([0.1, 0.9, 0.5, 0.7], [0, 1, 2, 3]) == [1, 3]
    assert promoted([0.1, 0.9, 0.5, 0.7], [0, 1, 2]) == [1, 2]
    assert promoted([0.5, 0.5, 0.5], [0, 1, 2]) == [0, 1]


def test_with_one_rung_the_fitnesses_are_told_as_they_are():
    assert told([0.3, 0.1, 0.2], [0, 0, 0]) == [0.3, 0.1, 0.2]


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=20))
def test_who_went_further_ranks_higher_and_the_order_inside_a_rung_stays(candidates):
    fitnesses, reached = zip(*candidates, strict=True)
    lowered = np.array(told(fitnesses, reached))
    for i, (f, r) in enumerate(candidates):
        for j, (g, s) in enumerate(candidates):
            if r > s:
                assert lowered[i] > lowered[j]
            if r == s and f - g > 1e-6:
                assert lowered[i] > lowered[j]
    assert (lowered <= np.array(fitnesses)).all()
