"""The conductor's reward."""

from __future__ import annotations

import pytest

from models.conductor.learn.practice import reward


@pytest.mark.parametrize(
    ("ran", "score", "value"), [(False, 0.0, 0), (False, 1.0, 0), (True, 0.0, 0.5), (True, 1.0, 1), (True, 0.5, 0.75)]
)
def test_a_plan_earns_nothing_a_half_or_all(ran, score, value):
    assert reward(ran, score) == value
