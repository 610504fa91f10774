"""A batch's requests in the ledger: their ids come from what they ask, so that a run that was killed goes on."""

from __future__ import annotations

import time
from typing import Any

from models.conductor.run.request import ConductAnswer, ConductRequest
from models.digest import json_digest
from models.ledger.requests import Row, begin, finish, refuse_pruned
from models.ledger.store import Ledger

MODEL = "conduct"


def request_id(question: Any, number: int, content: dict[str, Any]) -> str:
    """Of the question (JSON) with that number; `content`: what else makes it another request."""
    return f"conduct-{json_digest([question, number, content])[:24]}"


def begin_request(ledger: Ledger, request: ConductRequest) -> Row:
    """Keep the request before anything is paid for it. Raises Pruned: a new `name` asks again."""
    row = {
        "id": request.id,
        "model": MODEL,
        "status": "running",
        "created": int(time.time()),
        "key": None,
        "request": request.model_dump(mode="json"),
        "body": None,
    }
    with ledger.transaction() as connection:
        known = begin(ledger, row)(connection, ledger.now(connection))
    refuse_pruned(known)
    return known


def end_request(ledger: Ledger, id: str, changes: Row) -> Row:
    """Keep what came of it; an answer that is there stays."""
    with ledger.transaction() as connection:
        return finish(id, changes)(connection, ledger.now(connection))


def answered(conducted: ConductAnswer, maybe_paid: list[dict[str, Any]]) -> Row:
    """What is kept of an answer to a batch's request, with the calls that died in flight on the way to it."""
    waits = conducted.finish_reason == "tool_calls"
    return {
        "status": "awaiting-tools" if waits else "answered",
        "error": None,
        "body": body_of(conducted),
        "trace": {**conducted.trace, "maybe_paid": maybe_paid},
        "worker": conducted.worker,
        "calls": conducted.calls,
        "cost_usd": conducted.cost_usd,
    }


def body_of(conducted: ConductAnswer) -> dict[str, Any]:
    """The final body, made of the ledger's values alone."""
    return {
        "text": conducted.text,
        "finish_reason": conducted.finish_reason,
        "tool_calls": list(conducted.tool_calls),
        "usage": conducted.usage.model_dump(),
        "orchestration": conducted.orchestration.model_dump(),
    }
