"""Import scores measured elsewhere as labels of recorded workers, which cannot be asked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field

from models.errors import BadFile, BadInput
from models.files import staged
from models.grading.question import Identified, Question, read_lines, save_questions
from models.grading.recorded import VERSION
from models.ledger.epochs import open_epoch, put_workers
from models.ledger.labels import Attempt, put_attempts
from models.ledger.store import Ledger
from models.workers.pool import Pool, name_problem
from tasks.setup.questions import digests, keep_set
from tasks.setup.settings import settings

Name = Annotated[str, Field(min_length=1, max_length=200)]


class ScoredQuestion(Identified):
    """One line of a score file. `scores`: worker to score in [0, 1]; `metric`: how it was scored, kept as a tag."""

    model_config = ConfigDict(extra="forbid")

    task: str = Field(min_length=1, max_length=200)
    question: str = Field(min_length=1)
    scores: dict[Name, Annotated[float, Field(ge=0, le=1)]] = Field(min_length=1)
    metric: str = ""
    split: Literal["", "train", "validation", "test", "unseen"] = ""


@dataclass(frozen=True)
class Imported:
    """The result of an import: pool and question file are parameters of `warm-start` and `compare-pool`."""

    pool: str
    workers: tuple[str, ...]
    questions: Path
    count: int


def import_scores(path: Path, name: str, ledger: Ledger) -> Imported:
    """Create a pool of recorded workers, a question file and labels in the ledger. Importing again changes nothing.

    Raises BadFile, naming the line; BadInput for an invalid name; OSError and LedgerAway if something cannot be
    written, in which case nothing is.
    """
    _check_name(name)
    rows = read_scores(path)
    workers = tuple(rows[0].scores)
    revision = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    questions, place = [_question(row) for row in rows], settings().home / "questions" / f"{name}.jsonl"
    # The pool file is written last, so if it exists, the import is complete.
    with staged(settings().home / "pools" / f"{name}.yaml") as file, ledger.together():
        yaml.safe_dump(_pool(name, workers, revision), file, sort_keys=False)
        known = keep_set(place, questions, ledger)
        put_workers(ledger, [{"name": w, "revision": revision, "recorded": True} for w in workers])
        put_attempts(ledger, _attempts(open_epoch(ledger, name, known.name), revision, rows, digests(questions)))
        save_questions(place, questions)
    return Imported(name, workers, place, len(rows))


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise BadInput(f"{name!r} is not a valid pool name: at most 100 letters, digits, dots and dashes", "name")
    own = settings().home / "pools" / f"{name}.yaml"
    taken = own.exists() and not all(worker.is_recorded for worker in Pool.load(own).workers)
    if taken or (settings().data / "pools" / own.name).exists():
        raise BadInput(f"pool {name!r} exists already: choose another name with --name", "name")


def read_scores(path: Path) -> list[ScoredQuestion]:
    """Read a score file; every line must score the same workers. Raises BadFile, naming the line."""
    rows: list[ScoredQuestion] = []
    for number, row in read_lines(path, ScoredQuestion):
        for worker in row.scores:
            if (problem := name_problem(worker)) is not None:
                raise BadFile(path, f"{problem}, not {worker!r}", number)
        if rows and row.scores.keys() != rows[0].scores.keys():
            odd = sorted(row.scores.keys() ^ rows[0].scores.keys())
            raise BadFile(path, f"not the same workers as on the first line: {', '.join(odd)}", number)
        rows.append(row)
    return rows


def _question(row: ScoredQuestion) -> Question:
    return Question(
        id=row.id,
        task=row.task,
        messages=({"role": "user", "content": row.question},),
        grader="recorded",
        split=row.split,
        tags=(row.metric,) if row.metric else (),
    )


def _attempts(
    epoch: int, revision: str, rows: Sequence[ScoredQuestion], digests: Mapping[str, str]
) -> Iterator[Attempt]:
    for row in rows:
        for worker, score in row.scores.items():
            cell = (epoch, row.id, worker, revision, 0, "recorded", VERSION)
            yield Attempt(*cell, score, question_digest=digests[row.id])


def _pool(name: str, workers: Sequence[str], revision: str) -> dict[str, Any]:
    return {"name": name, "workers": [{"name": w, "model": f"recorded/{w}", "revision": revision} for w in workers]}
