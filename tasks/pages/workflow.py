"""The Prefect page of a conducted request: the plan as a graph, the steps as a table, the answer.

Where texts may not be shown, subtasks, findings and the answer are left out.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from prefect.artifacts import acreate_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from models.conductor.run.drawing import mermaid, svg
from models.conductor.run.planner import Plan
from models.conductor.run.request import ConductAnswer, StepRecord
from tasks.setup.texts import shown


class PageRound(Protocol):
    """A round of a request, whoever runs it."""

    number: int
    plan: Plan

    @property
    def records(self) -> Sequence[StepRecord]: ...


KEY, WITHHELD = "workflow-graph", "…"


async def workflow_page(
    title: str, rounds: Sequence[PageRound], conducted: ConductAnswer | None, why: str = ""
) -> None:
    """Create the page as one artifact. `why`: the reason if there is no answer."""
    parts = []
    for workflow_run in rounds:
        records = [replace(record, subtask=_text(record.subtask)) for record in workflow_run.records]
        picture = base64.b64encode(svg(records).encode()).decode()
        parts += [
            f"## Round {workflow_run.number}",
            f"![the plan as a graph](data:image/svg+xml;base64,{picture})",
            f"```mermaid\n{mermaid(records)}\n```",
            _table(records),
            *_remarks(workflow_run),
        ]
    parts += ["## Answer", _answer(conducted, why)]
    await acreate_markdown_artifact("\n\n".join(parts), key=KEY, description=title)


async def tag_run(tag: str) -> None:
    """Add a tag to the current flow run."""
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        run = context.flow_run
        async with get_client() as client:
            await client.update_flow_run(run.id, tags=[*run.tags, tag])


def _table(records: Sequence[StepRecord]) -> str:
    lines = ["| step | worker | subtask | sees | state | s | tokens | USD |", "|---|---|---|---|---|---|---|---|"]
    for record in records:
        sees = ", ".join(str(records[seen].number) for seen in record.sees) or "–"
        worker = record.worker + "".join(f" (after {name})" for name in record.tried)
        cells = [str(record.number), worker, record.subtask, sees, record.state, f"{record.seconds:.2f}"]
        cells += [str(record.usage.total_tokens), f"{record.cost_usd:.6f}"]
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _remarks(workflow_run: PageRound) -> list[str]:
    """Lines about the plan: its writer, refused attempts, the fallback, findings."""
    stored = workflow_run.plan.stored
    lines = [f"- planned by {stored.policy}"]
    lines += [f"- refused: {_cell(_text(complaint))}" for complaint in stored.complaints]
    lines += ["- no valid plan: one step on the router's best worker"] if stored.fallback is not None else []
    lines += [f"- {finding.code}: {_cell(_text(finding.message))}" for finding in stored.findings]
    return ["\n".join(lines)]


def _answer(conducted: ConductAnswer | None, why: str) -> str:
    if conducted is None:
        return why or "None: the request was cancelled."
    if conducted.tool_calls:
        names = ", ".join(_text(call["function"]["name"]) for call in conducted.tool_calls)
        return f"Waits for the client's tools: {names}."
    ended = conducted.trace["ended"]
    note = f"\n\n(cut off by the limit {ended})" if ended else ""
    quoted = "\n".join(f"> {line}" for line in _text(conducted.text or "").splitlines())
    return f"{quoted}{note}\n\n{conducted.calls} calls, {conducted.cost_usd:.6f} USD"


def _text(words: str) -> str:
    return words if shown() else WITHHELD


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
