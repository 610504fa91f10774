"""Ledger rows for the requests of a batch. Ids are hashes of the content, so a killed run continues its requests."""

from __future__ import annotations

from typing import Any

from models.conductor.run import rows
from models.conductor.run.request import ConductAnswer, ConductRequest
from models.digest import json_digest
from models.ledger.requests import Row, begin, begin_run, finish, refuse_pruned
from models.ledger.store import Ledger

MODEL = "conduct"


def request_id(question: Any, number: int, content: dict[str, Any]) -> str:
    """Id of the question (JSON) with that number; `content`: everything else that distinguishes requests."""
    return f"conduct-{json_digest([question, number, content])[:24]}"


def begin_request(ledger: Ledger, request: ConductRequest) -> Row:
    """Record the request, and that a run of it begins, before anything is paid for it.

    Raises Pruned if its texts were removed; use a new `name`.
    """
    with ledger.transaction() as connection:
        now = ledger.now(connection)
        known = begin(ledger, rows.begun(request, MODEL))(connection, now)
        begin_run(request.id, request.limits.max_seconds)(connection, now)
    refuse_pruned(known)
    return known


def end_request(ledger: Ledger, id: str, changes: Row) -> Row:
    """Record the outcome; an answer already recorded stays."""
    with ledger.transaction() as connection:
        return finish(id, changes)(connection, ledger.now(connection))


def body_of(conducted: ConductAnswer) -> dict[str, Any]:
    """The final body, built from recorded values only."""
    return {
        "text": conducted.text,
        "finish_reason": conducted.finish_reason,
        "tool_calls": list(conducted.tool_calls),
        "usage": conducted.usage.model_dump(),
        "orchestration": conducted.orchestration.model_dump(),
    }
