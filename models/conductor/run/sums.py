"""What a step comes to: its text, and the sums over its replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.conductor.run.request import ConductAnswer
from models.workers.ask import Reply, total


def sums_of(replies: Sequence[Reply], answer: Reply | None, nested: ConductAnswer | None) -> dict[str, Any]:
    """Fields of the step's record. `answer`: the last reply in the format that is asked for; `nested`: of a step that
    the conductor itself took."""
    if nested is not None:
        seconds = sum(row["seconds"] for traced in nested.trace["rounds"] for row in traced["steps"])
        sums = {"text": nested.text, "finish_reason": nested.finish_reason, "seconds": seconds}
        return sums | {"cost_usd": nested.cost_usd, "usage": total([nested.usage, nested.orchestration])}
    if not replies:
        return {}
    return {
        "call_ids": tuple(reply.call_id for reply in replies),
        "text": (answer or replies[-1]).text,
        "finish_reason": replies[-1].finish_reason,
        "usage": total([reply.usage for reply in replies]),
        "cost_usd": sum(reply.cost_usd for reply in replies),
        "seconds": sum(reply.seconds for reply in replies),
    }
