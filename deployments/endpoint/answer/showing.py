"""What is shown of a conducted request under way: its plans and steps as thoughts, its last step's words as the answer.

One job may have several readers, also late ones: they read what was shown from its beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from deployments.endpoint.answer.result import Delta, Text, Thought
from models.conductor.run.request import StepRecord
from models.conductor.run.watching import Watch
from models.ledger.plans import StoredPlan

MOST_CHARS = 1 << 20
"""Of the thoughts of one request; what is beyond is not shown."""

CUT = "\n(more than can be shown)\n"

_Step = tuple[str, int]


class Showing(Watch):
    """`listens`: whether somebody reads while the request runs. `repeats`: whether the request may be sent again, and
    then has the answer whatever its stream came to. Belongs to one event loop."""

    def __init__(self, listens: bool, repeats: bool = False) -> None:
        self.listens, self._repeats = listens, repeats
        self._deltas: list[Delta] = []
        self._left = MOST_CHARS
        self._changed = asyncio.Event()
        self._speaking: _Step | None = None
        self._held: dict[_Step, list[str]] = {}
        self._answering: _Step | None = None
        self._answer = ""

    @property
    def told(self) -> bool:
        return bool(self._answer) and not self._repeats

    @property
    def thoughts(self) -> str:
        """All that was shown of the work so far."""
        return "".join(delta.text for delta in self._deltas if isinstance(delta, Thought))

    async def deltas(self, until: asyncio.Future[Any]) -> AsyncGenerator[Delta]:
        """What was shown, and is shown until the future is done."""
        place = 0
        while True:
            while place < len(self._deltas):
                yield self._deltas[place]
                place += 1
            if until.done():
                return
            changed = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait([changed, until], return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()

    def planned(self, workflow: str, plan: StoredPlan) -> None:
        lines = [_heading(workflow)]
        lines += [f"{number}. {step.worker}: {step.subtask}\n" for number, step in enumerate(plan.steps, 1)]
        self._think("".join(lines) + "\n")

    def began(self, step: StepRecord, answers: bool) -> None:
        key = step.workflow, step.index
        if answers:
            # What was said of a try that failed cannot be taken back: then the rest waits for the end.
            self._answering = None if self._answer else key
            self._think(f"Step {step.number} ({step.worker}) answers.\n")
            return
        if self._speaking in (None, key):
            self._speaking = key
            self._think(_title(step))
        else:
            self._held[key] = [_title(step)]

    def said(self, step: StepRecord, text: str) -> None:
        key = step.workflow, step.index
        if key == self._answering:
            self._answer += text
            self._show(Text(text))
        elif key == self._speaking:
            self._think(text)
        elif key in self._held:
            self._held[key].append(text)

    def ended(self, step: StepRecord) -> None:
        """One step speaks at a time; the others' words are held until they have ended, or it has."""
        key = step.workflow, step.index
        words = [] if self.listens or not step.text else [step.text]
        if key == self._speaking:
            self._speaking = None
            self._think("".join(words) + "\n\n")
        elif key in self._held:
            self._held[key] += [*words, "\n\n"]
        if self._speaking is None:
            for held in [each for each, said in self._held.items() if said[-1] == "\n\n"]:
                self._think("".join(self._held.pop(held)))
            if self._held:
                self._speaking = next(iter(self._held))
                self._think("".join(self._held.pop(self._speaking)))

    def _think(self, text: str) -> None:
        if self._left <= 0:
            return
        self._left -= len(text)
        self._show(Thought(text if self._left > 0 else CUT))

    def _show(self, delta: Delta) -> None:
        self._deltas.append(delta)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _title(step: StepRecord) -> str:
    return f"Step {step.number} ({step.worker}): "


def _heading(workflow: str) -> str:
    return f"Plan {int(workflow.rpartition('/')[2]) + 1}:\n"


def recalled(trace: Mapping[str, Any]) -> str:
    """The plans and steps of a finished request, as its trace has them."""
    lines = []
    for each in trace.get("rounds") or ():
        lines.append(_heading(each["workflow"] or "/0"))
        lines += [
            f"{step['number']}. {step['worker']}: {step['subtask']} ({step['state']})\n" for step in each["steps"]
        ]
    return "".join(lines)
