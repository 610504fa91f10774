"""The entry point to all graders: grade a reply, get a grader's version, check a question."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from models.errors import BadInput
from models.grading.question import Question
from models.grading.verdict import Verdict

__all__ = ["GRADERS", "Verdict", "check", "grade", "isolation", "needs_sandbox", "takes_long", "version"]

GRADERS = ("exact", "number", "choice", "math", "code", "command", "calls", "recorded")
"""Each is a module of this package, imported on first use."""


def _grader(name: str) -> ModuleType:
    if name not in GRADERS:
        raise BadInput(f"unknown grader {name!r}; known: {', '.join(GRADERS)}", "grader")
    return import_module(f"models.grading.{name}")


def grade(question: Question, reply_text: str) -> Verdict:
    """Grade a worker's reply. Raises BadInput for an unknown grader or an invalid reference."""
    verdict: Verdict = _grader(question.grader).grade(question, reply_text)
    return verdict


def version(grader: str) -> str:
    """The grader's version, "name/n": a label is valid only for the version that produced it."""
    found: str = _grader(grader).VERSION
    return found


def check(question: Question) -> None:
    """Raises BadInput when the question's reference or options are invalid for its grader."""
    _grader(question.grader).check(question)


def needs_sandbox(grader: str) -> bool:
    """Whether grading runs a worker's code, which takes seconds and may raise IsolationUnavailable."""
    return _grader(grader).__name__.endswith((".code", ".command"))


def takes_long(grader: str) -> bool:
    """Whether grading may take seconds, in a separate process: do not call it on an event loop."""
    return needs_sandbox(grader) or grader == "math"


def isolation(grader: str) -> str:
    """The isolation level of a grader that needs a sandbox. Raises IsolationUnavailable where there is none."""
    level: str = _grader(grader).isolation()
    return level
