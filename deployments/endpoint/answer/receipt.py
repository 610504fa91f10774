"""What is known of a request when it is over: for the log, for the ledger and, on demand, for the caller."""

from __future__ import annotations

import math
import time
import traceback
from dataclasses import dataclass, field
from typing import Any

from deployments.endpoint.answer.exchange import Exchange, Step
from deployments.endpoint.wire.problems import Problem
from models.errors import FuguError


@dataclass
class Receipt:
    """`trace`: the caller asked to see who answered. No prompt and no reply is ever in here."""

    id: str
    trace: bool
    created: int = field(default_factory=lambda: int(time.time()))
    started: float = field(default_factory=time.monotonic)
    exchange: Exchange | None = None
    status: int | None = None
    error: Exception | None = None

    def row(self, status: int, error: Exception | None = None) -> dict[str, Any]:
        """One line of the log and the request's row in the ledger."""
        row: dict[str, Any] = {
            "id": self.id,
            "created": self.created,
            "status": status,
            "seconds": round(time.monotonic() - self.started, 4),
            "error": type(error).__name__ if error else None,
        }
        row |= place(error)
        if self.exchange is not None:
            chat, seat, usage = self.exchange.chat, self.exchange.seat, self.exchange.usage
            row |= {
                "model": chat.model,
                "stream": chat.stream,
                "user": chat.user,
                "champion": seat.champion.target,
                "champion_version": seat.champion.version,
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                **self._work(),
            }
        return row

    def _work(self) -> dict[str, Any]:
        assert self.exchange is not None
        steps, answering = self.exchange.steps, self.exchange.answering
        return {
            "worker": answering.worker if answering else None,
            "turns": len(steps),
            "cost_usd": self.exchange.cost_usd,
            "steps": [_step(step) for step in steps],
        }

    def disclose(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body, with the object `fugu` where the caller asked for it."""
        return {**body, "fugu": {"request_id": self.id, **self._work()}} if self.trace else body

    def headers(self) -> dict[str, str]:
        """The request's id; on demand what is known so far of who answers (a stream begins before its end)."""
        headers = {"X-Request-Id": self.id}
        answering = self.exchange.answering if self.trace and self.exchange else None
        if answering is None or self.exchange is None:
            return headers
        steps = self.exchange.steps
        headers |= {"X-Fugu-Worker": answering.worker, "X-Fugu-Turns": str(len(steps))}
        if answering.role is not None:
            headers["X-Fugu-Roles"] = ",".join(step.role.name for step in steps if step.role is not None)
        if (margin := _finite(answering.margin)) is not None:
            headers["X-Fugu-Margin"] = f"{margin:.4f}"
        if answering.reply is not None:
            headers["X-Fugu-Cost"] = f"{self.exchange.cost_usd:.9f}"
        return headers


def place(error: Exception | None) -> dict[str, str]:
    """Where a fault of ours came from. Its message may quote a prompt; this does not."""
    if error is None or isinstance(error, FuguError | Problem):
        return {}
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return {"where": f"{frame.filename}:{frame.lineno}"}


def _step(step: Step) -> dict[str, Any]:
    reply = step.reply
    return {
        "worker": step.worker,
        "role": step.role.name if step.role is not None else None,
        "margin": _finite(step.margin),
        "call_id": reply.call_id if reply else None,
        "prompt_tokens": reply.usage.prompt_tokens if reply else None,
        "completion_tokens": reply.usage.completion_tokens if reply else None,
        "estimated": reply.usage.estimated if reply else None,
        "cost_usd": reply.cost_usd if reply else None,
        "seconds": reply.seconds if reply else None,
    }


def _finite(margin: float | None) -> float | None:
    """A lone worker's margin is infinite, which JSON cannot say."""
    return float(margin) if margin is not None and math.isfinite(margin) else None
