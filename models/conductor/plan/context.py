"""The messages of a step's worker: the conversation, its own history, the steps on its access list, and tool memory.

Code decides what is visible, never a model: of the same workflow only the steps in `Workflow.sees` are shown.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.conductor.plan.workflow import Workflow
from models.workers.ask import TOKEN_BYTES, Message, Sampling, json_bytes, seed_for
from models.workers.pool import Pool

SHARED_SAMPLING = ("temperature", "top_p", "seed", "reasoning_effort", "tools", "tool_choice", "parallel_tool_calls")
"""Sampling fields for every step; the others, limits and formats, are meant for the answer and so for the last step."""

PREVIOUS = "Step 0, subtask: Answer the conversation."
"""The label under which a round shows the answer of the round before."""


@dataclass(frozen=True)
class Done:
    """A finished step as other steps see it."""

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
    """The messages of step `index` (from 0): conversation, memory, visible steps, its subtask, its turns.

    `memory`: tool calls and results of earlier workflows. `own`: this worker's steps in earlier workflows. `turns`:
    this step's tool calls and results. `previous`: the answer of the round before, for steps that see "all".
    `numbers`: of a pruned plan, each step's index before pruning, so that labels match the subtasks' references.
    Raises KeyError where a visible step is not done.
    """
    label = [number + 1 for number in (numbers if numbers is not None else range(len(workflow.steps)))]
    step = workflow.steps[index]
    messages: list[Message] = [*conversation, *memory, *own]
    if previous is not None and step.access == "all":
        messages += _exchange(PREVIOUS, previous)
    for seen in workflow.sees(index):
        messages += _exchange(f"Step {label[seen]}, subtask: {done[seen].subtask}", done[seen].reply)
    messages.append({"role": "user", "content": f"Step {label[index]}, your subtask: {step.subtask}"})
    return [dict(message) for message in [*messages, *turns]]


def sampling_for(wanted: Sampling, workflow: Workflow, index: int, place: str) -> Sampling:
    """The sampling of step `index`: the request's for the last step, its `SHARED_SAMPLING` fields for the others.

    Two equal steps are two samples, also of a worker that follows its seed: each step's seed is derived from the
    request's and from `place`, which names the step. If the request has no seed, only a step that repeats an earlier
    one gets one.
    """
    step = workflow.steps[index]
    given = {name: getattr(wanted, name) for name in SHARED_SAMPLING}
    shaped = wanted if index == len(workflow.steps) - 1 else Sampling(**given)
    if wanted.seed is None and step not in workflow.steps[:index]:
        return shaped
    return shaped.model_copy(update={"seed": step_seed(wanted.seed, place)})


def step_seed(seed: int | None, place: str) -> int:
    """A step's seed, derived from the request's and from `place`, which names the step."""
    return seed_for(f"{seed}{place}", 0)


def shown_bytes(pool: Pool, allowed: Sequence[str], worker: str | None) -> int:
    """Bytes of a reply that later steps are shown under a cost limit; `worker`: whose (`None`: any allowed one's).

    A plan is priced before there are replies, so their length must be bounded. Only a reply near its own token limit is
    longer.
    """
    names = allowed if worker is None else [worker]
    return TOKEN_BYTES * max(pool.worker(name).limits.max_output_tokens for name in names)


def shortened(text: str, most: int) -> str:
    """The longest beginning of `text` with at most `most` bytes as JSON."""
    if json_bytes(text) - 2 <= most:
        return text
    text = text[:most]
    return text[: bisect_right(range(len(text) + 1), most, key=lambda end: json_bytes(text[:end]) - 2) - 1]


def _exchange(subtask: str, reply: str) -> list[Message]:
    return [{"role": "user", "content": subtask}, {"role": "assistant", "content": reply}]
