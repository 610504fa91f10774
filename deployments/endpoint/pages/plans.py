"""Workflows for a page: each with its drawing and its steps, made of the ledger's rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.conductor.run.drawing import svg
from models.conductor.run.planner import Plan
from models.conductor.run.request import StepRecord
from models.ledger.workflows import Past, Settled
from models.workers.ask import Usage, total

WITHHELD = "…"
"""In place of a text that may not be seen."""


def workflows_of(past: Past, chars: int | None) -> list[dict[str, Any]]:
    """The workflows of a request, in order, nested ones after the step that they answer.

    `chars`: how much of each text is shown; `None`: nothing of any.
    """
    return [_workflow(name, past, chars) for name in sorted(past.workflows)]


def clipped(text: str, chars: int | None) -> str:
    """So much of a text as may be shown."""
    if chars is None:
        return WITHHELD if text else ""
    return text if len(text) <= chars else f"{text[:chars]} … ({len(text) - chars} characters more)"


def said(reply: dict[str, Any]) -> str:
    """A reply's text, and the tool calls in it."""
    calls = [call["function"] for call in reply.get("tool_calls") or ()]
    wanted = [f"{function['name']}({function['arguments']})" for function in calls]
    return "\n".join([*filter(None, [reply.get("text")]), *wanted])


def _workflow(name: str, past: Past, chars: int | None) -> dict[str, Any]:
    stored = past.workflows[name]
    records = _records(name, past, chars)
    remarks = [f"refused: {clipped(complaint, chars)}" for complaint in stored.complaints]
    remarks += [f"{finding.code}: {clipped(finding.message, chars)}" for finding in stored.findings]
    if stored.fallback is not None:
        remarks.append("no valid plan: one step on the router's best worker")
    if not stored.steps:
        remarks.append("the answer of the round before is accepted")
    return {
        "name": name,
        "policy": stored.policy,
        "at": past.planned[name],
        "drawing": svg(records) if records else "",
        "steps": [_step(record, records) for record in records],
        "remarks": remarks,
    }


def _records(name: str, past: Past, chars: int | None) -> list[StepRecord]:
    plan = Plan(past.workflows[name])
    workflow, numbers = plan.workflow, plan.numbers
    found = []
    for index, step in enumerate(plan.stored.steps):
        row, calls = past.steps.get((name, index)), _calls(name, index, past)
        texts = [said(call.reply) for call in calls]
        record = StepRecord(
            workflow=name,
            index=index,
            subtask=clipped(step.subtask, chars),
            worker=step.worker if row is None else row.worker,
            sees=tuple(workflow.sees(index)),
            state="waiting" if row is None else row.state,  # type: ignore[arg-type]  # as it was stored
            tried=() if row is None else row.tried,
            text=clipped(texts[-1], chars) if texts else None,
            usage=total([Usage.model_validate(call.reply["usage"]) for call in calls]),
            cost_usd=sum(call.reply["cost_usd"] for call in calls),
            seconds=sum(call.reply["seconds"] for call in calls),
            error=None if row is None or row.error is None else clipped(row.error, chars),
            written=numbers[index],
        )
        found.append(record)
    return found


def _calls(name: str, index: int, past: Past) -> list[Settled]:
    """The settled calls of a step, its tool turns in order."""
    row = past.steps.get((name, index))
    turns = [past.calls[turn["call"]] for turn in (row.turns if row else ()) if turn["call"] in past.calls]
    mine = [c for c in past.calls.values() if (c.payload["scope"], c.payload["replicate"]) == (name, index)]
    return turns + sorted((call for call in mine if call not in turns), key=lambda call: call.began)


def _step(record: StepRecord, records: Sequence[StepRecord]) -> dict[str, Any]:
    return {
        "number": record.number,
        "worker": record.worker,
        "tried": record.tried,
        "subtask": record.subtask,
        "sees": ", ".join(str(records[seen].number) for seen in record.sees),
        "state": record.state,
        "seconds": record.seconds,
        "tokens": record.usage.total_tokens,
        "cost_usd": record.cost_usd,
        "reply": record.text,
        "error": record.error,
    }
