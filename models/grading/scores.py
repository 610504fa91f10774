"""Scores that were recorded elsewhere, of any known form, as one value: questions × workers, with holes and repeats.

Forms are told apart by the fields of a file's first row. `own`: forms/own.py; `routerbench`, `routerarena`, `routerdc`,
`llmrouter`: forms/routers.py; `zeroeval`, `mmlu-pro`: forms/results.py. A folder is read as one set; files in it that
are of no form (summaries, say) are left out and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import BadFile, BadInput
from models.grading.forms import own, results, routers
from models.grading.forms.reply import Asked, Replies, Reply, Row
from models.grading.forms.rows import files_of, rows_of
from models.grading.question import Split

Matrix = NDArray[np.float64]


class _Shape(NamedTuple):
    """A form's rows: the fields that they all have, those that none has, and their reader."""

    form: str
    has: frozenset[str]
    lacks: frozenset[str]
    read: Callable[[Iterator[Row]], Replies]


def _shape(form: str, has: str, read: Callable[[Iterator[Row]], Replies], lacks: str = "") -> _Shape:
    return _Shape(form, frozenset(has.split()), frozenset(lacks.split()), read)


_SHAPES = (
    _shape("own", "id task worker score", own.of_reply, "scores"),
    _shape("zeroeval", "output dataset question answer generator", results.zeroeval),
    _shape("mmlu-pro", "question_id question options answer category pred", results.mmlu_pro),
    _shape("llmrouter", "task_name query model_name performance", routers.llmrouter),
    _shape("llmrouter", "query llm_name_list perf_list", routers.llmrouter_lists),
    _shape("routerarena", "global_index question llm_selected", routers.routerarena),
    _Shape(
        "routerarena",
        frozenset(["global index", "prediction", "accuracy"]),
        frozenset(),
        routers.routerarena_predictions,
    ),
    _shape("routerbench", "sample_id prompt eval_name", routers.routerbench),
    _shape("routerdc", "question scores", routers.routerdc, "id task messages"),
    _shape("own", "id task", own.of_question),
)
FORMS = tuple(dict.fromkeys(shape.form for shape in _SHAPES))


@dataclass(frozen=True)
class Scored:
    """Q questions × W workers, and their N replies. `question` and `worker` [N]: each reply's indices. `amounts`
    [N, 5]: its score, USD, prompt tokens, completion tokens and seconds, NaN where not known. `notes`: what was left
    out."""

    form: str
    asked: tuple[Asked, ...]
    workers: tuple[str, ...]
    question: NDArray[np.int64]
    worker: NDArray[np.int64]
    amounts: Matrix
    notes: tuple[str, ...] = field(default=())

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(each.id for each in self.asked)

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(each.task for each in self.asked)

    @property
    def splits(self) -> tuple[Split, ...]:
        """As the file says; empty where it says nothing."""
        return tuple(each.split for each in self.asked)

    @property
    def messages(self) -> tuple[tuple[dict[str, Any], ...], ...]:
        return tuple(each.messages for each in self.asked)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Each question's words: the texts of its messages, one after the other."""
        return tuple("\n".join(chain.from_iterable(map(_texts, each.messages))) for each in self.asked)

    @cached_property
    def repeats(self) -> NDArray[np.int64]:
        """[Q, W], how often a worker was scored on a question; 0 for a hole."""
        return self._sum(np.ones(len(self.question))).astype(np.int64)

    @cached_property
    def scores(self) -> Matrix:
        """[Q, W], the means over repeats; NaN for a hole."""
        return self._mean(0)

    @cached_property
    def stderr(self) -> Matrix:
        """[Q, W], the means' standard errors; NaN for fewer than two repeats."""
        deviations = self.amounts[:, 0] - self.scores[self.question, self.worker]
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.sqrt(self._sum(deviations**2) / (self.repeats - 1) / self.repeats)
        return np.where(self.repeats > 1, found, np.nan)

    @cached_property
    def costs(self) -> Matrix:
        """[Q, W], mean USD of a reply; NaN where it is not known."""
        return self._mean(1)

    @cached_property
    def tokens(self) -> Matrix:
        """[Q, W], mean tokens of a prompt and its reply; NaN where they are not known."""
        return self._mean(2) + self._mean(3)

    @cached_property
    def seconds(self) -> Matrix:
        """[Q, W], mean latency; NaN where it is not known."""
        return self._mean(4)

    @property
    def complete(self) -> NDArray[np.bool_]:
        """[Q], whether every worker saw the question."""
        return np.asarray((self.repeats > 0).all(axis=1))

    def _sum(self, values: Matrix) -> Matrix:
        """[Q, W]"""
        shape = len(self.asked), len(self.workers)
        cells = self.question * shape[1] + self.worker
        return np.asarray(np.bincount(cells, values, shape[0] * shape[1]), dtype=np.float64).reshape(shape)

    def _mean(self, amount: int) -> Matrix:
        """[Q, W], of the replies whose amount is known."""
        values = self.amounts[:, amount]
        known = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            return self._sum(np.where(known, values, 0.0)) / self._sum(known.astype(np.float64))


def _texts(message: dict[str, Any]) -> list[str]:
    content = message["content"]
    parts = [content] if isinstance(content, str) else [p.get("text") for p in content if isinstance(p, dict)]
    return [part for part in parts if isinstance(part, str)]


def read_scores(
    path: Path, form: str | None = None, name_problem: Callable[[str], str | None] = lambda name: None
) -> Scored:
    """Read a file or folder of recorded scores. `form`: one of FORMS; None: found by the fields. `name_problem`: why a
    worker's name cannot be used, or None.

    Raises BadFile, naming file and line, for what cannot be read, a score outside [0, 1] or that is no number, an id
    that is there twice, no score at all or those of one worker only; BadInput for an unknown form.
    """
    if form is not None and form not in FORMS:
        raise BadInput(f"unknown form {form!r}; known: {', '.join(FORMS)}", "format")
    gathered = _Gathered(path, name_problem)
    for file in files_of(path):
        rows = rows_of(path, file)
        first = next(rows, None)
        shape = None if first is None else _shape_of(first, form)
        if first is None or shape is None:
            gathered.left_out(file, first, form)
            continue
        gathered.take(shape.form, shape.read(chain([first], rows)))
    return gathered.scored()


def _shape_of(row: Row, form: str | None) -> _Shape | None:
    names = row.value.keys()
    fits = (s for s in _SHAPES if form in (None, s.form) and names >= s.has and not names & s.lacks)
    return next(fits, None)


class _Gathered:
    """The replies of all files so far."""

    def __init__(self, root: Path, name_problem: Callable[[str], str | None]) -> None:
        self.root, self.name_problem = root, name_problem
        self.form = ""
        self.questions: dict[str, tuple[int, Asked, Row]] = {}
        self.workers: dict[str, int] = {}
        self.cells: list[tuple[int, int]] = []
        self.amounts: list[tuple[float, ...]] = []
        self.first: Row | None = None
        self.dropped: Counter[str] = Counter()

    def left_out(self, file: Path, first: Row | None, form: str | None) -> None:
        """A file without a row, or of another form: an error, unless it is one of several."""
        if self.root.is_dir():
            self.dropped["files that are of no known form"] += 1
        elif first is None:
            raise BadFile(file, "holds no score", 1)
        elif form is not None:
            needed = [" ".join(sorted(s.has)) for s in _SHAPES if s.form == form]
            raise first.bad(f"not of form {form!r}: it has the fields {', or '.join(needed)}")
        else:
            raise first.bad(f"of no known form ({', '.join(FORMS)}): see the README on recorded scores")

    def take(self, form: str, replies: Replies) -> None:
        """Add a file's replies."""
        for reply in replies:
            self.first = self.first or reply.row
            if self.form and form != self.form:
                raise reply.row.bad(f"of form {form!r}, but files before it are of form {self.form!r}")
            self.form = form
            if isnan(reply.score):
                self.dropped["replies that have no score"] += 1
            elif self._known(reply):
                self._add(reply)

    def _known(self, reply: Reply) -> bool:
        """Check the reply; whether it is to the question that its id names."""
        if not 0 <= reply.score <= 1:
            raise reply.row.bad(f"the score of worker {reply.worker!r} is {reply.score:g}, not in [0, 1]")
        asked, row = reply.asked, reply.row
        if not (0 < len(asked.id) <= 200 and 0 < len(asked.task) <= 200):
            raise row.bad("id and task have 1 to 200 characters")
        _, before, first = self.questions.setdefault(asked.id, (len(self.questions), asked, row))
        if before.messages == asked.messages:
            return True
        if self.form == "own":
            raise row.bad(f"question id {asked.id!r} has another text on line {first.line}")
        self.dropped["replies to another wording than the first of their question"] += 1
        return False

    def _add(self, reply: Reply) -> None:
        question = self.questions[reply.asked.id][0]
        if reply.worker not in self.workers and (problem := self.name_problem(reply.worker)) is not None:
            raise reply.row.bad(f"{problem}, not {reply.worker!r}")
        self.cells.append((question, self.workers.setdefault(reply.worker, len(self.workers))))
        tokens = reply.prompt_tokens, reply.completion_tokens
        self.amounts.append((reply.score, reply.usd, *tokens, reply.seconds))

    def scored(self) -> Scored:
        """All of it. Raises BadFile where there is nothing to choose between."""
        where = self.root if self.first is None else self.first.path
        line = None if self.first is None else self.first.line
        if not self.workers:
            raise BadFile(where, "holds no score", line)
        if len(self.workers) == 1:
            only = next(iter(self.workers))
            raise BadFile(where, f"has scores of one worker only, {only!r}: there is nothing to choose between", line)
        cells = np.array(self.cells, dtype=np.int64)
        asked = _splits([each for _, each, _ in self.questions.values()], self.form)
        notes = tuple(f"{count} {what} are left out" for what, count in self.dropped.items())
        workers = tuple(self.workers)
        return Scored(self.form, asked, workers, cells[:, 0], cells[:, 1], np.array(self.amounts), notes)


def _splits(asked: Sequence[Asked], form: str) -> tuple[Asked, ...]:
    """The questions; a single split that was read from files' names says nothing, and is dropped."""
    if form == "own" or len({each.split for each in asked}) > 1:
        return tuple(asked)
    return tuple(Asked(each.id, each.task, each.messages, "", each.metric) for each in asked)
