"""The Prefect page of a conducted request: what it cost, the plan as a graph, the answer, the steps as a table.

Where texts may not be shown, subtasks, findings and the answer are left out.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Protocol

from prefect.artifacts import acreate_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from models.conductor.run.drawing import svg
from models.conductor.run.planner import Plan
from models.conductor.run.request import ConductAnswer, StepRecord
from tasks.pages.links import link, request_url
from tasks.setup.texts import shown


class PageRound(Protocol):
    """A round of a request, whoever runs it."""

    number: int
    plan: Plan

    @property
    def records(self) -> Sequence[StepRecord]: ...


KEY, WITHHELD = "workflow-graph", "…"


async def workflow_page(
    request: str, title: str, rounds: Sequence[PageRound], conducted: ConductAnswer | None, why: str = ""
) -> None:
    """Create the page as one artifact. `request`: its id; `why`: the reason if there is no answer."""
    parts = [_summary(request, rounds, conducted)]
    if rounds:
        picture = b64encode(svg(*(each.records for each in rounds), texts=shown()).encode()).decode()
        parts.append(f"![the plan as a graph](data:image/svg+xml;base64,{picture})")
    parts += ["## Answer", _answer(conducted, why)]
    for each in rounds:
        heading = f"## Steps of round {each.number + 1}" if len(rounds) > 1 else "## Steps"
        parts += [heading, _table(each.records), *_remarks(each)]
    await acreate_markdown_artifact("\n\n".join(parts), key=KEY, description=title)


def _summary(request: str, rounds: Sequence[PageRound], conducted: ConductAnswer | None) -> str:
    """What was done, for how much, and where question and replies are."""
    url = request_url(request)
    where = f"{link('question and replies', url)} on the endpoint's page" if url else f"texts: `fugu show {request}`"
    steps = [record for each in rounds for record in each.records]
    spent = sum(record.cost_usd for record in steps) if conducted is None else conducted.cost_usd
    calls = "" if conducted is None else f", {_counted(conducted.calls, 'call')}"
    return f"Request `{request}`: {_counted(len(steps), 'step')}{calls}, {spent:.6f} USD; {where}."


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


async def tag_run(tag: str) -> None:
    """Add a tag to the current flow run."""
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        run = context.flow_run
        async with get_client() as client:
            await client.update_flow_run(run.id, tags=[*run.tags, tag])


def _table(records: Sequence[StepRecord]) -> str:
    names = ["step", "worker", *(["subtask"] if shown() else []), "sees", "state", "s", "tokens", "USD"]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for record in records:
        sees = ", ".join(str(records[seen].number) for seen in record.sees) or "–"
        worker = record.worker + "".join(f" (after {name})" for name in record.tried)
        cells = [str(record.number), worker, *([record.subtask] if shown() else []), sees, record.state]
        cells += [f"{record.seconds:.2f}", str(record.usage.total_tokens), f"{record.cost_usd:.6f}"]
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
    if not shown():
        return f"Worker {conducted.worker} has answered; `FUGU_SHOW_TEXTS=true` shows the text here.{note}"
    return "\n".join(f"> {line}" for line in (conducted.text or "").splitlines()) + note


def _text(words: str) -> str:
    return words if shown() else WITHHELD


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
