"""A question file is looked at before anything is paid: splits, repetitions, intervals; small sets are dealt."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from models.errors import BadInput
from models.grading.grade import grade
from models.grading.question import load_questions
from tasks.setup.questions import QuestionSet, deal, hashed
from tasks.setup.review import half_width, review
from tasks.setup.settings import PROJECT


@pytest.fixture
def write(tmp_path: Path):
    def lines(*rows: dict) -> Path:
        filled = [
            {"task": "t", "question": f"{n}?", "grader": "number", "reference": n} | r for n, r in enumerate(rows)
        ]
        path = tmp_path / "questions.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in filled))
        return path

    return lines


@pytest.mark.parametrize("count", [2, 3, 4, 7, 12])
def test_a_small_set_has_what_is_needed_to_learn_and_to_compare(write, count: int) -> None:
    dealt = Counter(q.split for q in deal(load_questions(write(*({"id": f"q{n}"} for n in range(count))))))
    assert dealt["train"] and dealt["test"] and (dealt["validation"] or count == 2)
    assert dealt["train"] >= dealt["test"]


def test_a_declared_split_is_kept_and_a_large_set_is_dealt_by_the_ids_alone(write) -> None:
    rows = [{"id": f"q{n}"} | ({"split": "test"} if n % 7 == 0 else {}) for n in range(200)]
    for n, question in enumerate(deal(load_questions(write(*rows)))):
        assert question.split == ("test" if n % 7 == 0 else hashed(f"q{n}"))


def test_without_validation_questions_it_is_validated_on_train(write) -> None:
    made = QuestionSet("q", tuple(deal(load_questions(write({"id": "a"}, {"id": "b", "split": "test"})))))
    assert [q.id for q in made.split("validation")] == ["a"] == [q.id for q in made.split("train")]
    assert [q.id for q in made.split("test", "unseen")] == ["b"]


def test_it_says_splits_graders_and_how_wide_the_interval_is(write) -> None:
    looked = review(write({"id": "a"}, {"id": "b", "split": "test"}))
    assert "2 questions: 1 train, 1 test" in looked.lines and "graders: number 2" in looked.lines
    assert any("± 0.45" in line for line in looked.lines)
    assert any("validated on what it was learned from" in line for line in looked.warnings)


def test_the_interval_is_that_of_wilson() -> None:
    from scipy.stats import binomtest

    for count in (2, 48, 300):
        interval = binomtest(count // 2, count).proportion_ci(method="wilson")
        assert half_width(count) == pytest.approx((interval.high - interval.low) / 2, abs=1e-4)


@pytest.mark.parametrize("split", ["train", "test"])
def test_nothing_to_learn_from_or_to_compare_on_is_one_line(write, split: str) -> None:
    other = {"train": "test", "test": "train"}[split]
    with pytest.raises(BadInput, match=f"2 questions, none of split '{split}'"):
        review(write({"id": "a", "split": other}, {"id": "b", "split": other}))


def test_questions_that_are_repeated_are_named(write) -> None:
    same = {"question": "1 + 1?", "reference": 2}
    rows = [{"id": "a", "split": "train"}, {"id": "b", "split": "train"}, {"id": "c", "split": "test"}]
    warnings = " ".join(review(write(*(same | row for row in rows), same | {"id": "d", "reference": 3})).warnings)
    assert "'a' and 'b' ask the same: it counts twice" in warnings
    assert "'a' and 'c' ask the same, one to learn from and one to compare on" in warnings
    assert "'a' and 'd' ask the same and are graded differently" in warnings


def test_the_starter_questions_accept_their_own_references_and_repeat_nothing() -> None:
    file = PROJECT / "data" / "questions" / "starter.jsonl"
    assert all(grade(question, str(question.reference)).score == 1 for question in load_questions(file))
    assert not any("ask the same" in line for line in review(file).warnings)
