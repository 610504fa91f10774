"""The grader `calls`: 1 where the listed calls are the expected ones, less for each that is missing, wrong or spare."""

from __future__ import annotations

import json

import pytest

from models.errors import BadInput
from models.grading.grade import check, grade
from models.grading.question import Question

EXPECTED = [
    {"name": "find_user", "arguments": {"email": "ann@example.org"}},
    {"name": "book", "arguments": {"seats": 2, "day": "2026-03-01", "window": True}},
]


def question(reference: object = EXPECTED) -> Question:
    messages = ({"role": "user", "content": "Book two seats."},)
    return Question(id="q", task="tools", messages=messages, grader="calls", reference=reference)


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        (json.dumps(EXPECTED), 1),
        (f"First I thought [1, 2].\n```json\n{json.dumps(EXPECTED, indent=1)}\n```\nDone [ok].", 1),
        (json.dumps(EXPECTED).replace("ann@", " ANN@").replace(" 2,", ' "2.0",'), 1),
        (json.dumps([EXPECTED[0] | {"arguments": {"email": "ann@example.org", "phone": None}}, EXPECTED[1]]), 1),
        (json.dumps(EXPECTED[:1]), 0.5),
        (json.dumps(EXPECTED[::-1]), 0.5),
        (json.dumps([*EXPECTED, {"name": "pay"}, {"name": "pay"}]), 0.5),
        (json.dumps([EXPECTED[0], EXPECTED[1] | {"arguments": {"seats": 3}}]), 0.5),
        (json.dumps([EXPECTED[0] | {"arguments": EXPECTED[0]["arguments"] | {"age": 3}}]), 0),
        ("[]", 0),
        ("I cannot.", 0),
        ("[" * 5_000, 0),
        ('[{"name": ""}]', 0),
    ],
)
def test_calls_count_in_their_order(reply: str, score: float) -> None:
    assert grade(question(), reply).score == pytest.approx(score)


@pytest.mark.parametrize("reference", [None, [], "book", [{"arguments": {}}], {"name": "book"}])
def test_a_reference_that_is_no_list_of_calls_is_refused(reference: object) -> None:
    with pytest.raises(BadInput, match="reference"):
        check(question(reference))
