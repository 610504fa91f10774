"""Attempts (one graded reply each) in, labels (their mean per question and worker) and coverage out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
from sqlalchemy import select

from models.errors import NotFound
from models.ledger.store import Ledger
from models.ledger.tables import attempts, epochs, questions

CELL = ("epoch", "question_id", "worker", "revision", "repeat", "grader", "grader_version")
LABEL_COLUMNS = ["question_id", "task", "split", "worker", "revision", "score", "n", "stderr", "cost_usd"]
LABEL_COLUMNS += ["prompt_tokens", "completion_tokens", "seconds", "age_s", "epoch"]


@dataclass(frozen=True)
class Attempt:
    """One graded reply. `seconds` of the call, `call_id` `None` for a recorded score, `score` in [0, 1].

    `question_digest`: of the question as it was asked; empty: as the ledger has it now. Another flow may have put
    another question of that id meanwhile, for which this attempt then does not count.
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
    """One attempt that is wanted. `epoch`: ask in its scope (an old one where only the grader changed)."""

    question_id: str
    worker: str
    revision: str
    repeat: int
    epoch: int


def put_attempts(ledger: Ledger, rows: Iterable[Attempt]) -> None:
    """Keep attempts; one that is there already stays as it is. NotFound names a question never put."""
    # In one order, so that two processes that keep the same attempts never wait for each other.
    values = sorted((asdict(row) for row in rows), key=lambda row: [row[name] for name in CELL])
    if not values:
        return
    wanted = sorted({row["question_id"] for row in values})
    with ledger.transaction() as connection:
        digests: dict[str, str] = {}
        for start in range(0, len(wanted), 1000):
            some = questions.c.id.in_(wanted[start : start + 1000])
            digests |= {row.id: row.digest for row in connection.execute(select(questions).where(some))}
        unknown = [name for name in wanted if name not in digests]
        if unknown:
            raise NotFound(f"no question {unknown[0]!r}")
        now = ledger.now(connection)
        for row in values:
            row |= {"question_digest": row["question_digest"] or digests[row["question_id"]], "created_at": now}
        connection.execute(ledger.insert(attempts).on_conflict_do_nothing(), values)


def missing(
    ledger: Ledger,
    *,
    epoch: int,
    questions: Sequence[str],
    workers: Mapping[str, str],
    repeats: int,
    grader_versions: Mapping[str, str] | None = None,
    max_age: timedelta | None = None,
) -> list[Cell]:
    """The cells of questions × workers (name to revision) × repeats without a label, or with one too old.

    A label counts from any epoch of the same pool, if question, revision and grader version are today's.
    """
    frame = _measured(ledger, epoch, workers, max_age)
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
    questions: Sequence[str],
    workers: Mapping[str, str],
    repeats: int,
    grader_versions: Mapping[str, str] | None = None,
    max_age: timedelta | None = None,
) -> pd.DataFrame:
    """One row per worker: how many cells are `wanted`, `measured`, `stale`, `missing`, and their mean `score`."""
    frame = _measured(ledger, epoch, workers, max_age)
    asked = frame["question_id"].isin(set(questions)) & (frame["repeat"] < repeats)
    frame = frame[asked & _current(frame, grader_versions)]
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
    question_ids: Collection[str] | None = None,
    workers: Collection[str] | Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """One row per (question, worker), from the newest epoch that has the cell: columns `LABEL_COLUMNS`.

    `score`, `cost_usd`, tokens and `seconds` are means over the `n` repeats, `stderr` the mean score's
    standard error (NaN for one repeat), `age_s` the age of the oldest repeat. Recorded labels are among
    them. `workers` as a mapping (name to revision) takes no other revision.
    """
    frame = _attempts(ledger, pool, workers)
    if question_ids is not None:
        frame = frame[frame["question_id"].isin(set(question_ids))]
    cell = ["question_id", "worker"]
    # The newest attempt of a cell names its epoch, revision and grader version; repeats beside it share them.
    newest = frame.sort_values(["epoch", "created_at", "id"]).drop_duplicates(cell, keep="last")
    group = [*cell, "epoch", "revision", "grader_version"]
    frame = frame.merge(newest[group], on=group)
    means = {name: (name, "mean") for name in ("cost_usd", "prompt_tokens", "completion_tokens", "seconds")}
    table = frame.groupby([*group, "task", "split"], as_index=False, sort=False).agg(
        score=("score", "mean"), n=("score", "size"), stderr=("score", "sem"), age_s=("age_s", "max"), **means
    )
    return table.sort_values(cell, ignore_index=True)[LABEL_COLUMNS]


def _measured(ledger: Ledger, epoch: int, workers: Mapping[str, str], max_age: timedelta | None) -> pd.DataFrame:
    with ledger.reading() as connection:
        pool = connection.execute(select(epochs.c.pool).where(epochs.c.id == epoch)).scalar_one_or_none()
    if pool is None:
        raise NotFound(f"no epoch {epoch}")
    frame = _attempts(ledger, pool, workers).sort_values(["epoch", "id"], ignore_index=True)
    return frame.assign(stale=frame["age_s"] >= (np.inf if max_age is None else max_age.total_seconds()))


def _current(frame: pd.DataFrame, grader_versions: Mapping[str, str] | None) -> pd.Series:
    """Which attempts were graded by today's version of their grader."""
    if not grader_versions:
        return pd.Series(True, index=frame.index)
    return frame["grader"].map(grader_versions).fillna(frame["grader_version"]) == frame["grader_version"]


def _attempts(ledger: Ledger, pool: str | None, workers: Collection[str] | Mapping[str, str] | None) -> pd.DataFrame:
    """Attempts on questions as they are today, with task and split, and their age in seconds."""
    left_out = {"question_digest", "text_digest", "call_id"}
    columns = [column for column in attempts.c if column.name not in left_out]
    statement = select(*columns, questions.c.task, questions.c.split).join(
        questions,
        (questions.c.id == attempts.c.question_id) & (questions.c.digest == attempts.c.question_digest),
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
