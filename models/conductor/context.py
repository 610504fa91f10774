"""What a step's worker is sent: own history ∪ access list ∪ tool memory (seed 000, section 5.2).

Code decides what is visible, never a model: of the same workflow only the steps that `Workflow.sees` names are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.conductor.workflow import Workflow
from models.workers.ask import Message

PREVIOUS = "Step 0, subtask: Answer the conversation."
"""Under this label a round of a recursion shows the answer of the round before."""


@dataclass(frozen=True)
class Done:
    """A finished step as others may see it."""

    index: int
    subtask: str
    reply: str


def messages_for(
    conversation: Sequence[Message],
    workflow: Workflow,
    index: int,
    done: Mapping[int, Done],
    *,
    own: Sequence[Message] = (),
    memory: Sequence[Message] = (),
    turns: Sequence[Message] = (),
    previous: str | None = None,
    numbers: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """The messages of step `index` (from 0): the conversation, what it may know and see, its subtask, its own turns.

    `memory`: tool calls and results of earlier workflows. `own`: this worker's steps in earlier workflows. `turns`:
    this step's tool calls and results. `previous`: the answer of the round before, for steps that see "all".
    `numbers`: of a pruned plan, each step's index as it was written, so that labels are what subtasks refer to.
    Raises KeyError where a visible step is not done.
    """
    label = [number + 1 for number in (numbers if numbers is not None else range(len(workflow.steps)))]
    step = workflow.steps[index]
    messages: list[Message] = [*conversation, *memory, *own]
    if previous is not None and step.access == "all":
        messages += _told(PREVIOUS, previous)
    for seen in workflow.sees(index):
        messages += _told(f"Step {label[seen]}, subtask: {done[seen].subtask}", done[seen].reply)
    messages.append({"role": "user", "content": f"Step {label[index]}, your subtask: {step.subtask}"})
    return [dict(message) for message in [*messages, *turns]]


def _told(subtask: str, reply: str) -> list[Message]:
    return [{"role": "user", "content": subtask}, {"role": "assistant", "content": reply}]
