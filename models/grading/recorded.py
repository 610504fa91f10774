"""Grader `recorded`: for questions imported with their scores, to which no new reply can be graded."""

from __future__ import annotations

from models.errors import BadInput
from models.grading.question import Question
from models.grading.verdict import Verdict

VERSION = "recorded/1"


def check(question: Question) -> None:
    """Accept any question: it is used for training, never asked."""


def grade(question: Question, reply_text: str) -> Verdict:
    """Always raises BadInput."""
    raise BadInput(f"question {question.id!r} is known from recorded scores: a reply to it cannot be graded", "grader")
