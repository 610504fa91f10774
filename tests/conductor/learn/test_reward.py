"""The conductor's reward and the discount of its first round."""

from __future__ import annotations

import pytest

from models.conductor.learn.practice import discounted, reward


@pytest.mark.parametrize(
    ("ran", "score", "value"), [(False, 0.0, 0), (False, 1.0, 0), (True, 0.0, 0.5), (True, 1.0, 1), (True, 0.5, 0.75)]
)
def test_a_plan_earns_nothing_a_half_or_all(ran, score, value):
    assert reward(ran, score) == value


def test_the_round_without_recursion_is_discounted():
    assert discounted(1.0, recursive=True) == 1.0
    assert discounted(1.0, recursive=False) == pytest.approx(0.2)
