"""Memory of conversations: tool calls with results, finished steps by worker, and who answered last."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, select

from models.ledger.journal import Change
from models.ledger.plans import StoredPlan
from models.ledger.store import Ledger
from models.ledger.tables import calls, conversation_workers, steps, tool_calls, workflows
from models.ledger.tables.prepared import upsert
from models.ledger.workflows import ToolCall, tool_call_of

NEWEST = 50

REMEMBERED = timedelta(days=2)
"""How long it is known who answered last: longer than any provider caches a prompt."""

Place = tuple[str, int, str]
"""A finished step: its workflow, its index there, the id of its last call."""


@dataclass(frozen=True)
class Finished:
    """A finished step of an earlier workflow."""

    worker: str
    subtask: str
    reply: str
    place: Place


def last_worker(ledger: Ledger, key: str) -> str | None:
    """Who answered the conversation last; `None` where that is not known."""
    with ledger.reading() as connection:
        found = select(conversation_workers.c.worker).where(conversation_workers.c.key == key)
        worker: str | None = connection.execute(found).scalar_one_or_none()
        return worker


_PUT = upsert(conversation_workers, "key", ("key", "worker", "at"), ("worker", "at"))


def put_last_worker(key: str, worker: str) -> Change[None]:
    """Note who answered."""

    def change(connection: Connection, now: datetime) -> None:
        _PUT.run(connection, [{"key": key, "worker": worker, "at": now}])

    return change


def forget_last_workers(connection: Connection, now: datetime) -> None:
    """A change for a `Journal`: forget who answered what is older than anybody needs."""
    connection.execute(delete(conversation_workers).where(conversation_workers.c.at < now - REMEMBERED))


def known_tools(ledger: Ledger, conversation: str, without: str, path: str | None = None) -> list[ToolCall]:
    """The newest tool calls that have a result, at most 50, oldest first; not those of the workflow `without`.

    `path`: only those of workflows below it.
    """
    wanted = [tool_calls.c.conversation == conversation, tool_calls.c.result.is_not(None)]
    if path is not None:
        wanted.append(tool_calls.c.workflow.startswith(f"{path}/", autoescape=True))
    statement = select(tool_calls).where(*wanted, tool_calls.c.workflow != without)
    with ledger.reading() as connection:
        newest = statement.order_by(tool_calls.c.created_at.desc(), tool_calls.c.id.desc()).limit(NEWEST)
        rows = connection.execute(newest).all()
    return [tool_call_of(row) for row in reversed(rows)]


def tools_by(ledger: Ledger, ids: Sequence[str]) -> list[ToolCall]:
    """These tool calls, in this order."""
    if not ids:
        return []
    with ledger.reading() as connection:
        rows = connection.execute(select(tool_calls).where(tool_calls.c.id.in_(ids))).all()
    found = {row.id: tool_call_of(row) for row in rows}
    return [found[id] for id in ids if id in found]


def finished_steps(ledger: Ledger, conversation: str, without: str, workers: Collection[str]) -> list[Finished]:
    """The newest finished steps of these workers, at most 50 of each, oldest first; not those of workflow `without`."""
    mine = workflows.c.conversation == conversation, workflows.c.id != without
    done = steps.c.state == "done", steps.c.worker.in_(sorted(workers))
    age = steps.c.updated_at.desc(), steps.c.workflow, steps.c.step
    rank = func.row_number().over(partition_by=steps.c.worker, order_by=age).label("rank")
    ranked = select(steps, rank).join(workflows, workflows.c.id == steps.c.workflow).where(*mine, *done).subquery()
    newest = select(ranked).where(ranked.c.rank <= NEWEST)
    ordered = newest.order_by(ranked.c.updated_at.desc(), ranked.c.workflow, ranked.c.step)
    with ledger.reading() as connection:
        rows = [row for row in connection.execute(ordered).all() if row.body["turns"]]
        places = [(row.workflow, row.step, row.body["turns"][-1]["call"]) for row in reversed(rows)]
        return _finished(connection, places)


def steps_by(ledger: Ledger, places: Sequence[Place]) -> list[Finished]:
    """These finished steps, in this order."""
    if not places:
        return []
    with ledger.reading() as connection:
        return _finished(connection, places)


def _finished(connection: Connection, places: Sequence[Place]) -> list[Finished]:
    names = sorted({workflow for workflow, _, _ in places})
    kept = connection.execute(select(workflows.c.id, workflows.c.body).where(workflows.c.id.in_(names))).all()
    plans = {row.id: StoredPlan.model_validate(row.body) for row in kept}
    asked = select(calls.c.id, calls.c.worker, calls.c.reply).where(calls.c.id.in_([call for _, _, call in places]))
    asked = asked.where(calls.c.pruned_at.is_(None))
    replies = {row.id: row for row in connection.execute(asked).all()}
    return [
        Finished(
            replies[call].worker,
            plans[workflow].steps[step].subtask,
            replies[call].reply.get("text") or "",
            (workflow, step, call),
        )
        for workflow, step, call in places
        if call in replies and workflow in plans
    ]
