"""A batch's requests in the ledger: their ids come from what they ask, so that a run that was killed goes on."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from models.conductor.run import rows
from models.conductor.run.request import ConductAnswer, ConductRequest
from models.ledger.requests import Row, begin, finish, refuse_pruned
from models.ledger.store import Ledger

MODEL = "conduct"


def request_id(question: Any, number: int, content: dict[str, Any]) -> str:
    """Of the question (JSON) with that number; `content`: what else makes it another request."""
    text = json.dumps([question, number, content], sort_keys=True)
    return f"conduct-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def begin_request(ledger: Ledger, request: ConductRequest) -> Row:
    """Keep the request before anything is paid for it. Raises Pruned: a new `name` asks again."""
    with ledger.transaction() as connection:
        known = begin(ledger, rows.begun(request, MODEL))(connection, ledger.now(connection))
    refuse_pruned(known)
    return known


def end_request(ledger: Ledger, id: str, changes: Row) -> Row:
    """Keep what came of it; an answer that is there stays."""
    with ledger.transaction() as connection:
        return finish(id, changes)(connection, ledger.now(connection))


def body_of(conducted: ConductAnswer) -> dict[str, Any]:
    """The final body, made of the ledger's values alone."""
    return {
        "text": conducted.text,
        "finish_reason": conducted.finish_reason,
        "tool_calls": list(conducted.tool_calls),
        "usage": conducted.usage.model_dump(),
        "orchestration": conducted.orchestration.model_dump(),
    }
