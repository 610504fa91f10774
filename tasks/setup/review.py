"""What a look at a question set shows before anything is paid: splits, graders, repetitions, how much it can prove."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from models.digest import json_digest
from models.errors import BadInput
from models.evaluation.groups import HELD_OUT
from models.grading.grade import isolation, needs_sandbox
from models.grading.question import Question
from tasks.setup.questions import deal, hashed, read_set

SPLITS = ("train", "validation", "test", "unseen")
Z = 1.96
"""The normal distribution's two-sided 95 % quantile."""

WIDE, ENOUGH = 0.10, 300
"""The half width above which a set is called small, and the number of test questions of the house's set."""


@dataclass(frozen=True)
class Review:
    """`lines`: what the set is. `warnings`: what a result will not be worth."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...]

    def text(self, path: str, *more: str) -> Iterator[str]:
        """The lines to print, under the file's name."""
        yield f"questions {path}"
        yield from (f"  {line}" for line in (*self.lines, *more))
        yield from (f"  warning: {line}" for line in self.warnings)


def review(path: Path) -> Review:
    """Look at a question file. Raises BadFile where it cannot be used, BadInput where nothing can be learned or
    compared with it, IsolationUnavailable where a grader needs a sandbox that this machine does not have.
    """
    given = read_set(path)
    questions = deal(given)
    counts: Counter[str] = Counter(question.split for question in questions)
    for name in ("train", "test"):
        if not counts[name]:
            raise BadInput(
                f"{path}: {_many(len(questions), 'question')}, none of split {name!r}: at least one to learn from "
                "(train) and one to compare on (test) are needed",
                "questions",
            )
    graders = Counter(question.grader for question in questions)
    for grader in graders:
        if needs_sandbox(grader):
            isolation(grader)
    splits = ", ".join(f"{counts[name]:,} {name}" for name in SPLITS if counts[name])
    lines = (
        f"{_many(len(questions), 'question')}: {splits}",
        "graders: " + ", ".join(f"{name} {count:,}" for name, count in sorted(graders.items())),
        f"on {_many(counts['test'], 'test question')} a score of one half has the 95 % interval "
        f"0.50 ± {half_width(counts['test']):.2f}",
    )
    moved = any(q.split != hashed(q.id) for before, q in zip(given, questions, strict=True) if not before.split)
    return Review(lines, tuple(_warnings(questions, counts, moved)))


def _warnings(questions: Sequence[Question], counts: Counter[str], moved: bool) -> Iterator[str]:
    if not counts["validation"]:
        yield "no question is left to validate with: what is learned is validated on what it was learned from"
    if moved:
        yield "the set is too small to be dealt by the ids alone: with more questions, some will move to other splits"
    if (width := half_width(counts["test"])) > WIDE:
        yield (
            f"with intervals of ± {width:.2f} a router will hardly pass the gate; the best single worker serves then "
            f"({ENOUGH} test questions make it ± {half_width(ENOUGH):.2f})"
        )
    yield from repeated(questions)


def repeated(questions: Sequence[Question]) -> Iterator[str]:
    """A line for each text that is asked under several ids: with other references, or to learn from and to compare."""
    first: dict[str, Question] = {}
    for question in questions:
        asked = json_digest([dict(message) for message in question.messages])
        earlier = first.setdefault(asked, question)
        if earlier is question:
            continue
        pair = f"{earlier.id!r} and {question.id!r} ask the same"
        if (earlier.grader, earlier.reference) != (question.grader, question.reference):
            yield f"{pair} and are graded differently"
        elif (earlier.split in HELD_OUT) != (question.split in HELD_OUT):
            yield f"{pair}, one to learn from and one to compare on: the comparison is not held out"
        else:
            yield f"{pair}: it counts twice"


def half_width(count: int) -> float:
    """Half of the 95 % interval (Wilson) of a share of one half among `count` questions, where it is widest."""
    return Z / (2 * sqrt(count + Z**2))


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
