"""A key holds what changes the result, and a permanent failure is not tried again."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from prefect.states import Failed

from models.errors import BadInput, BudgetExceeded, RateLimited, UpstreamTimeout
from tasks.caching import key_of, transient_only
from tasks.candidate import score_candidate

CONTEXT = SimpleNamespace(task=SimpleNamespace(name="score-candidate"))
VECTOR = np.arange(4, dtype=np.float32)


def key(**parameters):
    return key_of("vector", "meaning")(
        CONTEXT, {"vector": VECTOR, "meaning": "m", "generation": 1, "index": 0} | parameters
    )


def test_the_place_in_a_generation_is_no_part_of_a_candidates_key():
    assert key(generation=7, index=3) == key()


@pytest.mark.parametrize(
    "change", [{"vector": VECTOR + 1}, {"meaning": "other"}, {"vector": VECTOR.astype(np.float64)}]
)
def test_what_changes_the_result_changes_the_key(change):
    assert key(**change) != key()


def test_a_tasks_name_is_part_of_its_key():
    other = SimpleNamespace(task=SimpleNamespace(name="another"))
    assert key_of("meaning")(CONTEXT, {"meaning": "m"}) != key_of("meaning")(other, {"meaning": "m"})


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (RateLimited("slow down"), True),
        (UpstreamTimeout("late"), True),
        (BadInput("no"), False),
        (BudgetExceeded("no more"), False),
        (ValueError("a mistake of ours"), False),
    ],
)
async def test_only_transient_failures_are_tried_again(error, again):
    assert await transient_only(score_candidate, None, Failed(data=error)) is again
