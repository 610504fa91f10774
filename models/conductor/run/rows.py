"""The ledger row of a conducted request: as it begins, and what its end adds. Changes are made in `models.ledger`."""

from __future__ import annotations

import time
from typing import Any

from models.conductor.run.request import ConductAnswer, ConductRequest
from models.ledger.requests import Row


def begun(request: ConductRequest, model: str, **more: Any) -> Row:
    """The row before anything is paid for the request. `model`: who it was sent to; `more`: the caller's own fields."""
    return {
        "id": request.id,
        "model": model,
        "status": "running",
        "created": int(time.time()),
        "key": None,
        "request": request.model_dump(mode="json"),
        "body": None,
        **more,
    }


def answered(
    id: str, conducted: ConductAnswer, body: dict[str, Any], lost: list[dict[str, Any]], pin: str | None = None
) -> Row:
    """`body`: the final one, made of the ledger's values alone. `lost`: calls that died in flight on the way to the
    answer, and may have been paid. `pin`: names the conductor that planned it."""
    usages = (conducted.usage, conducted.orchestration)
    done = {"worker": conducted.worker, "calls": conducted.calls, "cost_usd": conducted.cost_usd}
    return {
        "status": "awaiting-tools" if conducted.finish_reason == "tool_calls" else "answered",
        "error": None,
        "body": body,
        "trace": {"request_id": id, "pin": pin, **done, **conducted.trace, "maybe_paid": lost},
        "prompt_tokens": sum(usage.prompt_tokens for usage in usages),
        "completion_tokens": sum(usage.completion_tokens for usage in usages),
        **done,
    }


def failed(error: BaseException) -> Row:
    return {"status": "failed", "error": type(error).__name__}
