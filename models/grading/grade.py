"""One door to all graders: judge a reply, name a grader's version, check a question."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from models.errors import BadInput
from models.grading.question import Question
from models.grading.verdict import Verdict

__all__ = ["GRADERS", "Verdict", "check", "grade", "isolation", "needs_sandbox", "takes_long", "version"]

GRADERS = ("exact", "number", "choice", "math", "code", "command", "recorded")
"""Each a module here, loaded when first asked for."""


def _grader(name: str) -> ModuleType:
    if name not in GRADERS:
        raise BadInput(f"unknown grader {name!r}; known: {', '.join(GRADERS)}", "grader")
    return import_module(f"models.grading.{name}")


def grade(question: Question, reply_text: str) -> Verdict:
    """Judge a worker's reply. Raises BadInput for an unknown grader or an unfit reference."""
    verdict: Verdict = _grader(question.grader).grade(question, reply_text)
    return verdict


def version(grader: str) -> str:
    """The grader's version, "name/n": a label counts only for the version that made it."""
    found: str = _grader(grader).VERSION
    return found


def check(question: Question) -> None:
    """Raises BadInput when the question's reference or options do not fit its grader."""
    _grader(question.grader).check(question)


def needs_sandbox(grader: str) -> bool:
    """Whether grading runs a worker's code, so takes seconds and may raise IsolationUnavailable."""
    return _grader(grader).__name__.endswith((".code", ".command"))


def takes_long(grader: str) -> bool:
    """Whether grading may take seconds, in a process of its own: no event loop should wait for it."""
    return needs_sandbox(grader) or grader == "math"


def isolation(grader: str) -> str:
    """The isolation level that such a grader's runs get here. Raises IsolationUnavailable where there is none."""
    level: str = _grader(grader).isolation()
    return level
