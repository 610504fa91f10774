"""What steps may know of a conversation's earlier workflows: its tool results, and their own worker's steps.

Seed 000, section 5.2. Read once, when a workflow is planned, and kept with the plan: a resumed step sees the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from models.ledger.memory import Finished, finished_steps, known_tools
from models.ledger.store import Ledger
from models.workers.ask import Message

MAX_BYTES = 64 * 1024
"""Of tool results, and of each worker's own steps; the oldest go first."""

Memory = dict[str, Any]
"""`tools`: messages that every step sees; `own`: worker -> messages. JSON."""

TOOLS = "Tool results known from earlier in this conversation:"

NOTHING: Memory = {"tools": [], "own": {}}


def remembered(
    ledger: Ledger, conversation: str, without: str, workers: Collection[str], messages: Sequence[Message]
) -> Memory:
    """The conversation's memory beside the workflow `without`. Tool results that `messages` hold are left out."""
    told = {message.get("tool_call_id") for message in messages}
    calls = [call for call in known_tools(ledger, conversation, without) if call.id not in told]
    lines = _newest([f"{call.name}({call.arguments}) gave: {call.result}" for call in calls])
    steps: dict[str, list[Finished]] = {}
    for step in finished_steps(ledger, conversation, without, workers):
        steps.setdefault(step.worker, []).append(step)
    return {
        "tools": [{"role": "user", "content": "\n".join([TOOLS, *lines])}] if lines else [],
        "own": {worker: list(_told(some)) for worker, some in steps.items()},
    }


def _told(steps: Sequence[Finished]) -> Iterator[dict[str, str]]:
    kept = len(_newest([step.subtask + step.reply for step in steps]))
    for step in steps[len(steps) - kept :]:
        yield {"role": "user", "content": f"Earlier subtask of yours: {step.subtask}"}
        yield {"role": "assistant", "content": step.reply}


def _newest(texts: Sequence[str]) -> list[str]:
    """As many of the last as fit."""
    left, kept = MAX_BYTES, 0
    for text in reversed(texts):
        left -= len(text.encode())
        if left < 0:
            break
        kept += 1
    return list(texts[len(texts) - kept :])
