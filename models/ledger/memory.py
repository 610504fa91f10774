"""What a conversation remembers of its earlier workflows: tool calls with results, and finished steps by worker."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from models.ledger.store import Ledger
from models.ledger.tables import calls, steps, tool_calls, workflows
from models.ledger.workflows import ToolCall, tool_call_of

NEWEST = 50


@dataclass(frozen=True)
class Finished:
    """A finished step of an earlier workflow."""

    worker: str
    subtask: str
    reply: str


def known_tools(ledger: Ledger, conversation: str, without: str) -> list[ToolCall]:
    """The newest tool calls that have a result, oldest first; `without` those of one workflow."""
    wanted = tool_calls.c.conversation == conversation, tool_calls.c.result.is_not(None)
    statement = select(tool_calls).where(*wanted, tool_calls.c.workflow != without)
    with ledger.reading() as connection:
        newest = statement.order_by(tool_calls.c.created_at.desc(), tool_calls.c.id.desc()).limit(NEWEST)
        rows = connection.execute(newest).all()
    return [tool_call_of(row) for row in reversed(rows)]


def finished_steps(ledger: Ledger, conversation: str, without: str, workers: Collection[str]) -> list[Finished]:
    """The newest finished steps of these workers, at most 50 of each, oldest first; `without` one workflow's."""
    plans = select(workflows).where(workflows.c.conversation == conversation, workflows.c.id != without)
    with ledger.reading() as connection:
        found = {row.id: row.body for row in connection.execute(plans)}
        if not found:
            return []
        done = steps.c.workflow.in_(sorted(found)), steps.c.state == "done", steps.c.worker.in_(sorted(workers))
        newest = select(steps).where(*done).order_by(steps.c.updated_at.desc(), steps.c.workflow, steps.c.step)
        rows = _newest(connection.execute(newest).all())
        ids = [row.body["turns"][-1]["call"] for row in rows]
        replies = dict(connection.execute(select(calls.c.id, calls.c.reply).where(calls.c.id.in_(ids))).tuples().all())
    return [
        Finished(row.worker, found[row.workflow]["steps"][row.step]["subtask"], replies[call].get("text") or "")
        for row, call in zip(reversed(rows), reversed(ids), strict=True)
        if call in replies
    ]


def _newest(rows: Collection[Any]) -> list[Any]:
    counts: dict[str, int] = {}
    kept = []
    for row in rows:
        counts[row.worker] = counts.get(row.worker, 0) + 1
        if counts[row.worker] <= NEWEST and row.body["turns"]:
            kept.append(row)
    return kept
