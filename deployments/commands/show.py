"""`fugu show`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from deployments.commands.options import Home
from deployments.commands.resume import Id

if TYPE_CHECKING:
    from models.ledger.workflows import Past, Settled, StepRow


def show(id: Id, home: Home = None) -> None:
    """Print a request's plans, prompts, replies, costs and times from the ledger, and calls that may have been paid."""
    from deployments.commands.conducted import answer_text, open_row, print_maybe_paid, request_of
    from models.ledger.workflows import past

    ledger, row = open_row(id)
    if "messages" in row:
        for line in _question(row):
            typer.echo(line)
        return
    request = request_of(row)
    found = past(ledger, request.root)
    typer.echo(f"request   {id} ({row['status']}), {_clock(datetime.fromtimestamp(row['created'], UTC))} UTC")
    if request.continues:
        typer.echo(f"continues {request.continues}")
    written = {call.payload["scope"] for call in found.calls.values()}
    for name in sorted({*found.workflows, *written}):
        for line in _workflow(name, found):
            typer.echo(line)
    typer.echo(f"\ncost      ${found.usd:.6f} for {found.tries} tries")
    if row.get("body") is not None:
        typer.echo(f"answer    {answer_text(row['body'])}")
    print_maybe_paid(ledger, request.root)


def _question(row: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a question of the flow `answer`."""
    yield f"request   {row['id']} ({row['status']}), {_clock(datetime.fromtimestamp(row['created'], UTC))} UTC"
    for message in row["messages"]:
        yield from _indented(f"{message['role']}: {_content(message)}")
    if row["body"] is not None:
        yield f"answer    {row['body']['text']}"


def _workflow(name: str, found: Past) -> Iterator[str]:
    from models.conductor.run.planner import Plan

    plan = found.workflows.get(name)
    source = "no plan was kept" if plan is None else f"planned by {plan.policy}, {_clock(found.planned[name])}"
    yield f"\nworkflow  {name}, {source}"
    for id, call in sorted(found.calls.items(), key=lambda item: item[1].began):
        if call.payload["scope"] == name and call.payload["replicate"] < 0:  # steps count from 0
            yield "  written by the conductor:"
            yield from _call(id, call)
    if plan is None:
        return
    yield from (f"  refused: {complaint}" for complaint in plan.complaints)
    if plan.fallback is not None:
        yield f"  no valid plan: one step on the router's best worker ({plan.fallback})"
    yield from (f"  {finding.code}: {finding.message}" for finding in plan.findings)
    if not plan.steps:
        yield "  the previous round's answer is accepted"
    workflow, numbers = Plan(plan).workflow, [number + 1 for number in Plan(plan).numbers]
    for index, step in enumerate(plan.steps):
        row = found.steps.get((name, index))
        sees = ", ".join(str(numbers[seen]) for seen in workflow.sees(index)) or "nothing"
        yield f"\n  step {numbers[index]}: {step.worker}, sees {sees}"
        yield f"    subtask: {step.subtask}"
        yield f"    {row.state if row is not None else 'not started'}{_tried(row)}"
        yield from _calls(name, index, found)


def _tried(row: StepRow | None) -> str:
    return "" if row is None or not row.tried else f" by {row.worker}, after {', '.join(row.tried)}"


def _calls(name: str, index: int, found: Past) -> Iterator[str]:
    """The settled calls of a step; its tool turns in order."""
    row = found.steps.get((name, index))
    known = [turn["call"] for turn in row.turns] if row is not None else []
    mine = [
        id
        for id, call in found.calls.items()
        if call.payload["scope"] == name and call.payload["replicate"] == index and id not in known
    ]
    for id in [*known, *mine]:
        call = found.calls.get(id)
        if call is not None:
            yield from _call(id, call)


def _call(id: str, call: Settled) -> Iterator[str]:
    payload, reply = call.payload, call.reply
    usage = reply["usage"]
    tokens = f"{usage['prompt_tokens'] + usage['completion_tokens']} tokens"
    tokens += " (estimated)" if usage.get("estimated") else ""
    took = f"{reply['seconds']:.2f} s, {tokens}, ${reply['cost_usd']:.6f}"
    yield f"    call {id[:12]} to {payload['worker']}, {_clock(call.began)} to {_clock(call.ended)}: {took}"
    for message in payload["messages"]:
        yield from _indented(f"{message['role']}: {_content(message)}")
    yield from _indented(f"-> {_content({**reply, 'content': reply['text']})}")


def _clock(time: datetime) -> str:
    """A UTC time to the millisecond."""
    return f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03d}"


def _content(message: dict[str, Any]) -> str:
    calls = [f"{call['function']['name']}({call['function']['arguments']})" for call in message.get("tool_calls") or ()]
    return " ".join([str(message.get("content") or ""), *calls]).strip()


def _indented(text: str) -> Iterator[str]:
    return (f"      {line}" for line in text.splitlines())
