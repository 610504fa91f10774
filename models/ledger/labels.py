"""Attempts (one graded reply each), and the labels (their means per question and worker) and coverage made of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
from sqlalchemy import func, select

from models.digest import json_digest
from models.errors import NotFound
from models.ledger.store import Ledger
from models.ledger.tables import attempts, epochs, questions

CELL = ("epoch", "question_id", "worker", "revision", "repeat", "grader", "grader_version")
LABEL = ["question_id", "question_digest", "worker"]
LABEL_COLUMNS = ["question_id", "task", "split", "worker", "revision", "score", "n", "stderr", "cost_usd"]
LABEL_COLUMNS += ["prompt_tokens", "completion_tokens", "seconds", "age_s", "epoch"]


@dataclass(frozen=True)
class Attempt:
    """One graded reply. `seconds`: of the call; `call_id`: `None` for a recorded score; `score` in [0, 1].

    `question_digest`: of the question as it was asked, since several sources may use the same id. Empty: that of the
    only question of this id.
    """

    epoch: int
    question_id: str
    worker: str
    revision: str
    repeat: int
    grader: str
    grader_version: str
    score: float
    call_id: str | None = None
    cost_usd: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    text_digest: str = ""
    question_digest: str = ""


@dataclass(frozen=True, order=True)
class Cell:
    """An attempt to make. `epoch`: the call's scope (an old epoch where only the grader changed)."""

    question_id: str
    worker: str
    revision: str
    repeat: int
    epoch: int


def put_attempts(ledger: Ledger, rows: Iterable[Attempt]) -> None:
    """Store attempts; existing ones are kept. Raises NotFound, naming the question, for an unknown question."""
    # In a fixed order, so that two processes that write the same attempts cannot deadlock.
    values = sorted((asdict(row) for row in rows), key=lambda row: [row[name] for name in CELL])
    if not values:
        return
    wanted = sorted({row["question_id"] for row in values})
    with ledger.transaction() as connection:
        known: dict[str, set[str]] = {}
        for start in range(0, len(wanted), 1000):
            some = questions.c.id.in_(wanted[start : start + 1000])
            for row in connection.execute(select(questions.c.id, questions.c.digest).where(some)):
                known.setdefault(row.id, set()).add(row.digest)
        for each in values:
            digests = known.get(each["question_id"], set())
            if not digests or not (each["question_digest"] or len(digests) == 1):
                raise NotFound(
                    f"no question {each['question_id']!r}" + " that is the only one of its id" * bool(digests)
                )
            each["question_digest"] = each["question_digest"] or min(digests)
        now = ledger.now(connection)
        kept = [each | {"created_at": now} for each in values]
        connection.execute(ledger.insert(attempts).on_conflict_do_nothing(), kept)


def are_attempted(ledger: Ledger, cells: Sequence[Cell], versions: Mapping[str, str]) -> bool:
    """Whether the ledger has an attempt for each of a batch's cells. `versions`: the grader's, by question id."""
    wanted = {(c.epoch, c.question_id, c.worker, c.revision, c.repeat, versions[c.question_id]) for c in cells}
    names = ("epoch", "question_id", "worker", "revision", "repeat", "grader_version")
    near = (attempts.c[name].in_({getattr(cell, name) for cell in cells}) for name in names[:3])
    with ledger.reading() as connection:
        rows = connection.execute(select(*(attempts.c[name] for name in names)).where(*near))
        return wanted <= {tuple(row) for row in rows}


def missing(
    ledger: Ledger,
    *,
    epoch: int,
    questions: Mapping[str, str],
    workers: Mapping[str, str],
    repeats: int,
    grader_versions: Mapping[str, str] | None = None,
    max_age: timedelta | None = None,
) -> list[Cell]:
    """The cells of questions × workers × repeats that have no label, or one that is too old.

    `questions`: id to digest; `workers`: name to revision. A label of any epoch of the same pool counts, if its
    question, revision and grader version are the present ones.
    """
    frame = _on_questions(_measured(ledger, epoch, workers, max_age), questions)
    current = _current(frame, grader_versions)
    fresh = frame[current & ~frame["stale"]]
    regrade = frame[~current & ~frame["stale"]]
    have = set(zip(fresh["question_id"], fresh["worker"], fresh["repeat"], strict=True))
    cells = zip(regrade["question_id"], regrade["worker"], regrade["repeat"], strict=True)
    replies = dict(zip(cells, regrade["epoch"], strict=True))
    return [
        Cell(question, worker, revision, repeat, int(replies.get((question, worker, repeat), epoch)))
        for question in questions
        for worker, revision in workers.items()
        for repeat in range(repeats)
        if (question, worker, repeat) not in have
    ]


def coverage(
    ledger: Ledger,
    *,
    epoch: int,
    questions: Mapping[str, str],
    workers: Mapping[str, str],
    repeats: int,
    grader_versions: Mapping[str, str] | None = None,
    max_age: timedelta | None = None,
) -> pd.DataFrame:
    """One row per worker: counts of cells `wanted`, `measured`, `stale`, `missing`, and their mean `score`."""
    frame = _on_questions(_measured(ledger, epoch, workers, max_age), questions)
    frame = frame[(frame["repeat"] < repeats) & _current(frame, grader_versions)]
    cells = frame.sort_values("epoch").drop_duplicates(["question_id", "worker", "repeat"], keep="last")
    rows = []
    for worker in workers:
        mine = cells[cells["worker"] == worker]
        stale = int(mine["stale"].sum())
        wanted = len(questions) * repeats
        counts = {
            "wanted": wanted,
            "measured": len(mine) - stale,
            "stale": stale,
            "missing": wanted - len(mine),
        }
        rows.append({"worker": worker, **counts, "score": float(mine["score"].mean()) if len(mine) else np.nan})
    return pd.DataFrame(rows, columns=["worker", "wanted", "measured", "stale", "missing", "score"])


def labels(
    ledger: Ledger,
    *,
    pool: str | None = None,
    questions: Mapping[str, str] | None = None,
    workers: Collection[str] | Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """One row per (question, worker), from the newest epoch that has the cell: columns `LABEL_COLUMNS`.

    `score`, `cost_usd`, tokens and `seconds` are means over the `n` repeats, `stderr` the mean score's
    standard error (NaN for one repeat), `age_s` the age of the oldest repeat. Recorded labels are included.
    `questions` (id to digest): only these. `workers`: only these; as a mapping (name to revision), only this revision.
    """
    frame = _newest(ledger, pool, questions, workers)
    group = [*LABEL, "epoch", "revision", "grader_version"]
    means = {name: (name, "mean") for name in ("cost_usd", "prompt_tokens", "completion_tokens", "seconds")}
    table = frame.groupby([*group, "task", "split"], as_index=False, sort=False).agg(
        score=("score", "mean"), n=("score", "size"), stderr=("score", "sem"), age_s=("age_s", "max"), **means
    )
    return table.sort_values(LABEL, ignore_index=True)[LABEL_COLUMNS]


def scores_by_repeat(
    ledger: Ledger,
    *,
    pool: str | None = None,
    questions: Mapping[str, str] | None = None,
    workers: Collection[str] | Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """One row for each repeat that a label is the mean of, in order: `question_id`, `worker`, `repeat`, `score`."""
    frame = _newest(ledger, pool, questions, workers)
    return frame.sort_values([*LABEL, "repeat"], ignore_index=True)[["question_id", "worker", "repeat", "score"]]


def _newest(
    ledger: Ledger,
    pool: str | None,
    questions: Mapping[str, str] | None,
    workers: Collection[str] | Mapping[str, str] | None,
) -> pd.DataFrame:
    """The attempts that labels are made of. The newest one of a question and worker determines epoch, revision and
    grader version; only repeats that share them count."""
    frame = _attempts(ledger, pool, workers)
    if questions is not None:
        frame = _on_questions(frame, questions)
    newest = frame.sort_values(["epoch", "created_at", "id"]).drop_duplicates(LABEL, keep="last")
    group = [*LABEL, "epoch", "revision", "grader_version"]
    return frame.merge(newest[group], on=group)


def repeated(ledger: Ledger, *, pool: str, workers: Mapping[str, str]) -> pd.DataFrame:
    """One row for each time that a worker (name to revision) was measured on a question again: columns `worker`,
    `question_id`, `epoch`, and the mean scores `before`, in the epoch in which it was measured last, and `now`."""
    frame = _attempts(ledger, pool, workers)
    cell = ["worker", "question_id", "question_digest", "grader_version"]
    means = frame.groupby([*cell, "epoch"], as_index=False).agg(score=("score", "mean")).sort_values([*cell, "epoch"])
    means = means.assign(before=means.groupby(cell)["score"].shift())
    again = means[means["before"].notna()].rename(columns={"score": "now"})
    return again[["worker", "question_id", "epoch", "before", "now"]].reset_index(drop=True)


def sentinels(
    ledger: Ledger,
    *,
    pool: str,
    epoch: int,
    questions: Mapping[str, str],
    workers: Mapping[str, str],
    repeats: int,
    count: int,
) -> list[Cell]:
    """The cells by which workers (name to revision) are watched in this epoch: of the questions that one was measured
    on before, those whose labels are the oldest, as many as still have to be measured for `count` of them. Equal ages
    are told apart by chance, and scores are not looked at."""
    frame = _on_questions(_attempts(ledger, pool, workers), questions)
    cells: list[Cell] = []
    for worker, own in frame.groupby("worker"):
        old = _oldest(own, epoch, count)
        cells += [Cell(id, str(worker), workers[str(worker)], repeat, epoch) for id in old for repeat in range(repeats)]
    return cells


def _oldest(frame: pd.DataFrame, epoch: int, count: int) -> list[str]:
    newest = frame.groupby("question_id")["epoch"].agg(["min", "max"])
    done = int(((newest["max"] == epoch) & (newest["min"] < epoch)).sum())
    old = newest[newest["max"] < epoch]["max"]
    order = sorted(old.items(), key=lambda item: (item[1], json_digest([item[0], epoch])))
    return [str(id) for id, _ in order[: max(0, count - done)]]


def _on_questions(frame: pd.DataFrame, questions: Mapping[str, str]) -> pd.DataFrame:
    """The attempts on these questions (id to digest) in their present form."""
    return frame[frame["question_id"].map(questions) == frame["question_digest"]]


def _measured(ledger: Ledger, epoch: int, workers: Mapping[str, str], max_age: timedelta | None) -> pd.DataFrame:
    with ledger.reading() as connection:
        pool = connection.execute(select(epochs.c.pool).where(epochs.c.id == epoch)).scalar_one_or_none()
    if pool is None:
        raise NotFound(f"no epoch {epoch}")
    frame = _attempts(ledger, pool, workers).sort_values(["epoch", "id"], ignore_index=True)
    return frame.assign(stale=frame["age_s"] >= (np.inf if max_age is None else max_age.total_seconds()))


def _current(frame: pd.DataFrame, grader_versions: Mapping[str, str] | None) -> pd.Series:
    """Which attempts were graded by the present version of their grader."""
    if not grader_versions:
        return pd.Series(True, index=frame.index)
    return frame["grader"].map(grader_versions).fillna(frame["grader_version"]) == frame["grader_version"]


def _attempts(ledger: Ledger, pool: str | None, workers: Collection[str] | Mapping[str, str] | None) -> pd.DataFrame:
    """Attempts on the present form of questions, with task and split, and their age in seconds."""
    columns = [column for column in attempts.c if column.name not in {"text_digest", "call_id"}]
    key = questions.c.id, questions.c.digest
    # Several sources may have the same question, with different task and split: the smallest of each is taken.
    today = select(*key, func.min(questions.c.task).label("task"), func.min(questions.c.split).label("split"))
    known = today.group_by(*key).subquery()
    statement = select(*columns, known.c.task, known.c.split).join(
        known, (known.c.id == attempts.c.question_id) & (known.c.digest == attempts.c.question_digest)
    )
    if pool is not None:
        statement = statement.join(epochs, epochs.c.id == attempts.c.epoch).where(epochs.c.pool == pool)
    if workers is not None:
        statement = statement.where(attempts.c.worker.in_(list(workers)))
    with ledger.reading() as connection:
        now = ledger.now(connection)
        rows = list(connection.execute(statement))
    frame = pd.DataFrame(rows, columns=[column.name for column in statement.selected_columns])
    if isinstance(workers, Mapping):
        frame = frame[frame["revision"] == frame["worker"].map(workers)]
    ages = (pd.Timestamp(now) - pd.to_datetime(frame["created_at"], utc=True)).dt.total_seconds()
    return frame.assign(age_s=ages)
