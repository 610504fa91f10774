"""The asks of a routed request, as they are accounted for, and shown to whoever wants to see the work."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from models.fugu.roles import Role
from models.workers.ask import Reply, Sampling

SHARED_SAMPLING = ("temperature", "top_p", "seed", "reasoning_effort")
"""What reaches a THINKER and a VERIFIER too; limits and formats are meant for the answer, a SOLVER's."""


@dataclass(frozen=True)
class Step:
    """One ask of a request. `role` and `margin` are `None` where no router decided them; `repeat` is that of `Turn`.

    `error`: why it failed. `kept`: the worker had the conversation, and the router did not clearly prefer another.
    """

    worker: str
    role: Role | None
    margin: float | None
    repeat: int = 0
    reply: Reply | None = None
    error: str | None = None
    kept: bool = False

    @property
    def title(self) -> str:
        """Who has the turn, for a person."""
        return f"{self.role.name.capitalize() if self.role is not None else 'Worker'} ({self.worker}): "


def shared(sampling: Sampling) -> Sampling:
    return Sampling(**{name: getattr(sampling, name) for name in SHARED_SAMPLING})


def traced(step: Step) -> dict[str, Any]:
    reply = step.reply
    return {
        "worker": step.worker,
        "role": step.role.name if step.role is not None else None,
        "margin": finite(step.margin),
        "kept": step.kept,
        "error": step.error,
        "call_id": reply.call_id if reply else None,
        "prompt_tokens": reply.usage.prompt_tokens if reply else None,
        "completion_tokens": reply.usage.completion_tokens if reply else None,
        "estimated": reply.usage.estimated if reply else None,
        "cost_usd": reply.cost_usd if reply else None,
        "seconds": reply.seconds if reply else None,
    }


def finite(margin: float | None) -> float | None:
    """A lone worker's margin is infinite, which JSON has no number for."""
    return float(margin) if margin is not None and math.isfinite(margin) else None
