"""What callers say of answers: weak labels (an opinion) and strong ones (an outcome, such as tests that passed).

They stay apart from measured labels: nobody chose these questions, and who says something is no fair sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import pandas as pd
from sqlalchemy import Connection, func, select, update

from models.ledger.journal import Change
from models.ledger.store import Ledger
from models.ledger.tables import requests
from models.ledger.tables.feedback import feedback

Kind = Literal["opinion", "outcome"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Feedback:
    """`score` in [0, 1]. `kind`: opinion, of a person; outcome, of what the answer was used for."""

    request: str
    kind: Kind
    score: float
    owner: str | None = None


def put_feedback(ledger: Ledger, said: Feedback) -> Change[datetime | None]:
    """Store what is said of an answer; of one kind the last word holds, and the same word again changes nothing.

    The change's result: when something of this kind was said first; `None` where this owner has no such request, or it
    has no answer.
    """

    def change(connection: Connection, now: datetime) -> datetime | None:
        row = connection.execute(select(requests.c.body).where(requests.c.id == said.request)).scalar_one_or_none()
        if row is None or row.get("owner") != said.owner or row.get("status") not in (200, "answered"):
            return None
        key = {"request": said.request, "kind": said.kind}
        values = {"owner": said.owner, "worker": row.get("worker"), "score": said.score}
        insert = ledger.insert(feedback).values(**key, **values, created_at=now, updated_at=now)
        connection.execute(insert.on_conflict_do_nothing(index_elements=list(key)))
        this = feedback.c.request == said.request, feedback.c.kind == said.kind
        changed = update(feedback).where(*this, feedback.c.score != said.score)
        connection.execute(changed.values(score=said.score, updated_at=now))
        first: datetime = connection.execute(select(feedback.c.created_at).where(*this)).scalar_one()
        return first

    return change


def feedback_of(ledger: Ledger) -> pd.DataFrame:
    """One row per worker and kind: `worker`, `kind`, the mean `score` and the number `n` of answers."""
    by = feedback.c.worker, feedback.c.kind
    counted = (
        select(*by, func.avg(feedback.c.score).label("score"), func.count().label("n")).group_by(*by).order_by(*by)
    )
    with ledger.reading() as connection:
        rows = connection.execute(counted).all()
    return pd.DataFrame([row._mapping for row in rows], columns=["worker", "kind", "score", "n"])
