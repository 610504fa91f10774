"""Memory of a conversation's earlier workflows: its tool results, and each worker's own steps.

It is collected once, when a workflow is planned. The plan stores references to ledger rows, not texts, so that a
resumed step sees the same, and plans stay small in a long conversation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.ledger.conversations import Finished, finished_steps, known_tools, steps_by, tools_by
from models.ledger.store import Ledger
from models.ledger.workflows import ToolCall
from models.workers.ask import Message

MAX_BYTES = 64 * 1024
"""Bytes of tool results, and of each worker's own steps. The oldest are dropped first; the oldest kept may be cut."""

CUT = " … (cut)"

TOOLS = "Tool results known from earlier in this conversation:"

Messages = tuple[dict[str, str], ...]

Part = dict[str, Any]
"""`tools`: ids of tool calls; `own`: worker -> [workflow, step, its last call's id] of steps. JSON."""


@dataclass(frozen=True)
class Memory:
    """`tools`: messages that every step sees; `own`: worker -> messages; `kept`: references to their ledger rows."""

    tools: Messages = ()
    own: Mapping[str, Messages] = field(default_factory=dict)
    kept: tuple[Part, ...] = ()

    def __add__(self, later: Memory) -> Memory:
        own = {
            worker: (*self.own.get(worker, ()), *later.own.get(worker, ()))
            for worker in sorted({*self.own, *later.own})
        }
        return Memory((*self.tools, *later.tools), own, (*self.kept, *later.kept))


NOTHING = Memory()


def remembered(
    ledger: Ledger,
    conversation: str,
    without: str,
    workers: Collection[str],
    messages: Sequence[Message],
    path: str | None = None,
) -> Memory:
    """The conversation's memory except workflow `without`. Tool results that are in `messages` are left out.

    `path`: of a nested request run, which knows only steps and tool results of its own earlier workflows; its tool
    calls were handed out under the whole conversation's key.
    """
    known = {message.get("tool_call_id") for message in messages}
    tools = [call for call in known_tools(ledger, conversation, without, path) if call.id not in known]
    return _part(tools, finished_steps(ledger, path or conversation, without, workers))


def recalled(ledger: Ledger, kept: Sequence[Part]) -> Memory:
    """The memory that `kept` refers to."""
    found = NOTHING
    for part in kept:
        places = [tuple(place) for places in part["own"].values() for place in places]
        found += _part(tools_by(ledger, part["tools"]), steps_by(ledger, places))
    return found


def _part(tools: Sequence[ToolCall], steps: Sequence[Finished]) -> Memory:
    lines = _newest([_entry(f"{call.name}({call.arguments}) gave: {call.result}") for call in tools])
    own: dict[str, list[Finished]] = {}
    for step in steps:
        own.setdefault(step.worker, []).append(step)
    part: Part = {"tools": [call.id for call in tools[len(tools) - len(lines) :]], "own": {}}
    shown: dict[str, Messages] = {}
    for worker, some in own.items():
        replies = _newest([step.reply for step in some], [step.subtask for step in some])
        if replies:
            newest = some[-len(replies) :]
            shown[worker] = tuple(_exchanges(newest, replies))
            part["own"][worker] = [list(step.place) for step in newest]
    messages = ({"role": "user", "content": "\n".join([TOOLS, *lines])},) if lines else ()
    return Memory(messages, shown, (part,) if lines or shown else ())


def _entry(text: str) -> str:
    """The text with its further lines indented, so that none looks like a separate entry."""
    return text.replace("\n", "\n  ")


def _exchanges(steps: Sequence[Finished], replies: Sequence[str]) -> Iterator[dict[str, str]]:
    for step, reply in zip(steps, replies, strict=True):
        yield {"role": "user", "content": f"Earlier subtask of yours: {step.subtask}"}
        yield {"role": "assistant", "content": reply}


def _newest(texts: Sequence[str], beside: Sequence[str] = ()) -> list[str]:
    """The last texts that fit in `MAX_BYTES`, the first of them cut; `beside`: a text that is shown with each."""
    left, kept = MAX_BYTES, list[str]()
    for number in reversed(range(len(texts))):
        size = len(texts[number].encode())
        left -= len(beside[number].encode()) if beside else 0
        if left <= len(CUT.encode()):
            break
        kept.append(texts[number] if size <= left else _cut(texts[number], left))
        left -= size
    return kept[::-1]


def _cut(text: str, most: int) -> str:
    return text.encode()[: most - len(CUT.encode())].decode(errors="ignore") + CUT
