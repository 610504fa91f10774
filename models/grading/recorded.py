"""Grader `recorded`: the question came with its scores, and nothing here could judge another reply to it."""

from __future__ import annotations

from models.errors import BadInput
from models.grading.question import Question
from models.grading.verdict import Verdict

VERSION = "recorded/1"


def check(question: Question) -> None:
    """Any question will do: it is learned from, not asked."""


def grade(question: Question, reply_text: str) -> Verdict:
    """Raises BadInput, always."""
    raise BadInput(f"question {question.id!r} is known from recorded scores: a reply to it cannot be graded", "grader")
