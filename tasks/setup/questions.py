"""The question set of a flow: the house's, made from the preset's counts, or a JSONL file of one's own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import BadFile, BadInput
from models.grading.grade import check, isolation, needs_sandbox, version
from models.grading.question import Question, load_questions
from models.ledger import epochs
from models.ledger.epochs import put_questions
from models.ledger.store import Ledger
from models.workers.pool import Pool
from models.workers.translation import check_models
from tasks.setup.preset import QuestionCounts
from tasks.setup.settings import HOUSE


@dataclass(frozen=True)
class QuestionSet:
    """`name` identifies the set's content: an epoch of measuring belongs to (pool, name)."""

    name: str
    questions: tuple[Question, ...]

    def fold(self, index: int, count: int, seed: int) -> QuestionSet:
        """The same set with other splits: the `index`-th of `count` seeded folds is test, the rest train."""
        place = np.random.default_rng(seed).permutation(len(self.questions)) % count
        return QuestionSet(
            self.name,
            tuple(
                question.model_copy(update={"split": "test" if at == index else "train"})
                for question, at in zip(self.questions, place, strict=True)
            ),
        )

    def require(self, *names: str) -> QuestionSet:
        """Itself. Raises BadInput, before anything is paid, where one of these splits holds no question."""
        for name in names:
            if not self.split(name):
                raise BadInput(f"question set {self.name!r} has no questions of split {name!r}", "questions")
        return self

    def split(self, *names: str) -> list[Question]:
        """The questions of these splits, in order."""
        return [q for q in self.questions if q.split in names]


def load_set(source: str, counts: QuestionCounts, ledger: Ledger) -> QuestionSet:
    """`source`: "house", or the path of a JSONL file. The questions are registered in the ledger.

    Raises BadInput for a question that does not fit its grader, BadFile for a file that cannot be read.
    """
    if source == HOUSE:
        from models.house.questions import generate

        sizes = {name: getattr(counts, name) for name in ("train", "validation", "test", "unseen")}
        return _keep(ledger, HOUSE, HOUSE, generate(counts.seed, sizes, counts.two_hop_share))
    questions = load_questions(Path(source))
    for question in questions:
        try:
            check(question)
        except BadInput as error:
            raise BadFile(source, f"question {question.id!r}: {error}") from None
    return keep_set(Path(source), questions, ledger)


def keep_set(path: Path, questions: Sequence[Question], ledger: Ledger) -> QuestionSet:
    """The set of these questions, which the file holds or is about to; they are registered in the ledger."""
    stem = path.stem[:40]
    source = f"{stem[:20]}-{_digest(str(path.resolve()))[:40]}"
    return _keep(ledger, source, stem, [_with_split(question) for question in questions])


def _keep(ledger: Ledger, source: str, stem: str, questions: Sequence[Question]) -> QuestionSet:
    """`source`: whose the questions' ids are."""
    content = "\n".join(question.model_dump_json() for question in questions)
    put_questions(ledger, source, [_row(question) for question in questions])
    return QuestionSet(f"{stem}-{_digest(content)[:12]}", tuple(questions))


def wanted_cells(
    ledger: Ledger, pool: Pool, questions_of: QuestionSet, repeats: int, max_age: timedelta | None = None
) -> dict[str, Any]:
    """What `labels.missing` and `labels.coverage` are asked: every question and live worker, in the open epoch.

    `max_age` opens a new epoch where something is older. Raises BadInput, before anything is paid, for a question
    that came with its scores: no reply to it could be graded.
    """
    workers = {w.name: w.revision for w in pool.workers if not w.is_recorded}
    recorded = next((q for q in questions_of.questions if q.grader == "recorded"), None)
    if workers and recorded is not None:
        raise BadInput(
            f"question {recorded.id!r} is known from recorded scores: no live worker can be asked it", "grader"
        )
    series = (ledger, pool.name, questions_of.name)
    epoch = epochs.open_epoch(*series) if max_age is None else epochs.next_epoch(*series, max_age, workers)
    return {
        "epoch": epoch,
        "questions": digests(questions_of.questions),
        "workers": workers,
        "repeats": repeats,
        "grader_versions": {grader: version(grader) for grader in {q.grader for q in questions_of.questions}},
        "max_age": max_age,
    }


def can_be_asked(pool: Pool, questions_of: QuestionSet) -> None:
    """Raises what would keep a pool's workers from being asked these questions, or their replies from being graded.

    MissingKey, BadInput for a model that litellm cannot send to, IsolationUnavailable. Imports litellm: slow.
    """
    pool.check_keys()
    check_models(pool)
    for grader in {question.grader for question in questions_of.questions}:
        if needs_sandbox(grader):
            isolation(grader)


def digests(questions: Iterable[Question]) -> dict[str, str]:
    """Each question's digest by its id: what the ledger knows a question by, since ids are of a set."""
    return {question.id: question.digest for question in questions}


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def _row(question: Question) -> dict[str, Any]:
    body = question.model_dump(mode="json")
    return {k: body[k] for k in ("id", "task", "split", "tags")} | {"digest": question.digest, "body": body}


def _with_split(question: Question) -> Question:
    """Questions without a split are dealt 60 : 20 : 20 by their id, so that adding some moves none."""
    if question.split:
        return question
    place = int.from_bytes(hashlib.sha256(question.id.encode()).digest()[:4]) / 2**32
    split = "train" if place < 0.6 else "validation" if place < 0.8 else "test"
    return question.model_copy(update={"split": split})
