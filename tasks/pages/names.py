"""Names of runs and tasks that a person reads: with texts where these may be shown, else with ids and workers only."""

from __future__ import annotations

from models.conductor.run.request import ConductRequest, StepRecord
from models.workers.ask import text_of
from tasks.setup.texts import shown


def label_of(record: StepRecord) -> str:
    """A step's label: "step 2: coder - Count the letters", or "step 2: coder" where texts may not be shown."""
    name = f"step {record.number}: {record.worker}"
    if not shown():
        return name
    subtask = " ".join(record.subtask.split())
    return f"{name} - {subtask if len(subtask) <= 60 else subtask[:59] + '…'}"


def title_of(request: ConductRequest) -> str:
    """A short name of a request: the start of the question, or its id where texts may not be shown."""
    words = (question_of(request) if shown() else "") or request.id
    return words if len(words) <= 60 else words[:59] + "…"


def question_of(request: ConductRequest) -> str:
    """The last user message as one line."""
    content = next((m.get("content") for m in reversed(request.messages) if m.get("role") == "user"), None)
    return " ".join(text_of(content).split())
