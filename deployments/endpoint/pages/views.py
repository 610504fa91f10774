"""What the pages show, read from the ledger: plain values for the templates. Each function blocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from deployments.commands.conducted import answer_text
from deployments.endpoint.pages.plans import clipped, said, workflows_of
from deployments.endpoint.pages.runs import run_url
from models.ledger.looking.latest import Line, Spent, latest, spent_since
from models.ledger.looking.story import Call, Story, story
from models.ledger.providers.breakers import OpenBreaker, open_breakers
from models.ledger.store import Ledger
from models.workers.ask import text_of
from models.workers.pool import Pool, Worker

DECISIONS, WORKFLOWS = 40, 3
"""How many of the last requests the first page lists, and of how many it shows the plan."""

GLANCE, WHOLE = 500, 20_000
"""Characters of a text on the first page, and on the page of its request."""

SHOWN = ("id", "model", "status", "error", "worker", "seconds", "continues", "trace_id")
"""What the page of a request has of its row."""

CALLS = 200
"""Calls on the page of a request."""

SPENT_S, SHARE = 15.0, 20
"""How old the sums of today may be: they are read from all calls of the day, in a twentieth of the time at most."""


class Spending:
    """What was spent since midnight (UTC), summed again when that is old."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._lock = ledger, threading.Lock()
        self._until, self._found = float("-inf"), tuple[Spent, ...]()

    def today(self) -> Sequence[Spent]:
        with self._lock:
            if (begun := time.monotonic()) > self._until:
                midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
                self._found = tuple(spent_since(self._ledger, midnight))
                self._until = begun + max(SPENT_S, SHARE * (time.monotonic() - begun))
            return self._found


def front(ledger: Ledger, pool: Pool, spending: Spending, texts: bool, before: datetime | None) -> dict[str, Any]:
    """The first page, but for what only the process knows."""
    lines, spent = latest(ledger, DECISIONS, before), spending.today()
    conducted = [line for line in lines if line.root is not None][:WORKFLOWS]
    return {
        "workers": _workers(pool, spent, open_breakers(ledger), texts),
        "usd": sum(one.usd for one in spent),
        "tries": sum(one.tries for one in spent),
        "failed": sum(one.failed for one in spent),
        "lines": [_line(line) for line in lines],
        "older": lines[-1].at if len(lines) == DECISIONS else None,
        "workflows": [_glance(ledger, line, texts) for line in conducted],
    }


def one(ledger: Ledger, id: str, texts: bool) -> dict[str, Any]:
    """The page of a request. Raises NotFound."""
    found = story(ledger, id)
    row, chars = found.row, WHOLE if texts and not found.is_pruned else None
    return {
        "row": {name: row.get(name) for name in SHOWN},
        "began": found.began,
        "question": clipped(_question(found), chars),
        "answer": clipped(_answer(found), chars),
        "pruned": row.get("pruned"),
        "steps": row.get("steps") or (),
        "workflows": workflows_of(found.past, chars),
        "calls": [_call(call, chars) for call in found.calls[:CALLS]],
        "more_calls": max(0, len(found.calls) - CALLS),
        "usd": sum(call.cost_usd for call in found.calls),
        "run": run_url(id) if row.get("request") else None,
    }


def _workers(pool: Pool, spent: Sequence[Spent], rows: Sequence[OpenBreaker], texts: bool) -> list[dict[str, Any]]:
    of = {one.worker: one for one in spent}
    names = [*(worker.name for worker in pool.workers), *(w.name for w in pool.conductors)]
    found = [_worker(pool.worker(name), of.get(name), [row for row in rows if row.worker == name]) for name in names]
    return [one if texts else {**one, "why": None} for one in found]


def _worker(worker: Worker, spent: Spent | None, open_: Sequence[OpenBreaker]) -> dict[str, Any]:
    limits = worker.limits
    told = {"a minute": limits.requests_per_minute, "tokens a minute": limits.tokens_per_minute}
    told |= {"in flight": limits.in_flight, "here at once": limits.concurrency}
    # One of its keys may be left.
    shut = len({row.key for row in open_}) >= len(worker.key_names or ("",))
    until = min((row.until for row in open_ if row.until is not None), default=None)
    return {
        "name": worker.name,
        "model": worker.model,
        "recorded": worker.is_recorded,
        "askable": worker.is_askable,
        "shut": shut,
        "until": until,
        "why": "; ".join(sorted({row.reason for row in open_})),
        "limits": ", ".join(f"{value:g} {what}" for what, value in told.items() if value is not None),
        "price": worker.price,
        "spent": spent,
    }


def _line(line: Line) -> dict[str, Any]:
    return {"id": line.id, "at": line.at, "conducted": line.root is not None, "steps": line.steps, **line.figures}


def _glance(ledger: Ledger, line: Line, texts: bool) -> dict[str, Any]:
    found, chars = story(ledger, line.id), GLANCE if texts else None
    return {**_line(line), "question": clipped(_question(found), chars), "workflows": workflows_of(found.past, chars)}


def _question(found: Story) -> str:
    """The last user message."""
    asked = (found.row.get("request") or {}).get("messages") or found.row.get("messages")
    messages = asked or (found.calls[0].payload.get("messages") if found.calls else None) or ()
    return next((text_of(m.get("content"), mark_others=True) for m in reversed(messages) if m["role"] == "user"), "")


def _answer(found: Story) -> str:
    if (body := found.row.get("body")) is not None:
        return answer_text(body)
    answering = [call for step in found.row.get("steps") or () if (call := found.call(step.get("call_id"))) is not None]
    return said(answering[-1].reply or {}) if answering else ""


def _call(call: Call, chars: int | None) -> dict[str, Any]:
    messages = call.payload.get("messages") or ()
    usage = (call.reply or {}).get("usage") or {}
    return {
        "id": call.id,
        "scope": call.scope,
        "worker": call.worker,
        "status": call.status,
        "at": call.created_at,
        "tries": [(one, clipped(one.error, chars) if one.error else None) for one in call.tries],
        "cost_usd": call.cost_usd,
        "seconds": call.seconds,
        "tokens": usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0),
        "estimated": usage.get("estimated", False),
        "messages": [(m["role"], clipped(text_of(m.get("content"), mark_others=True), chars)) for m in messages],
        "reply": None if call.reply is None else clipped(said(call.reply), chars),
    }
