"""`fugu show`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from deployments.commands.options import Home
from deployments.commands.resume import Id

if TYPE_CHECKING:
    from models.ledger.workflows import Past, StepRow


def show(id: Id, home: Home = None) -> None:
    """A request's plans, contexts, replies, costs and times, as the ledger has them; calls that may have been paid."""
    from deployments.commands.conducted import open_request, tell_maybe_paid, text_of
    from models.ledger.workflows import past

    ledger, row, request = open_request(id)
    found = past(ledger, request.root)
    typer.echo(f"request   {id} ({row['status']})")
    if request.continues:
        typer.echo(f"continues {request.continues}")
    for name in sorted(found.workflows):
        for line in _workflow(name, found):
            typer.echo(line)
    typer.echo(f"\ncost      ${found.usd:.6f} for {found.tries} tries")
    if row.get("body") is not None:
        typer.echo(f"answer    {text_of(row['body'])}")
    tell_maybe_paid(ledger, sorted({f"{request.root}/0", *found.workflows}))


def _workflow(name: str, found: Past) -> Iterator[str]:
    plan = found.workflows[name]
    yield f"\nworkflow  {name}, planned by {plan['policy']}"
    yield from (f"  refused: {complaint}" for complaint in plan["complaints"])
    if plan["fallback"] is not None:
        yield "  no valid plan: one step on the router's best worker"
    yield from (f"  {finding['code']}: {finding['message']}" for finding in plan["findings"])
    if not plan["steps"]:
        yield "  the answer of the round before is accepted"
    for index, step in enumerate(plan["steps"]):
        row = found.steps.get((name, index))
        yield f"\n  step {index + 1}: {step['worker']}, sees {step['planned']['access'] or 'nothing'}"
        yield f"    subtask: {step['subtask']}"
        yield f"    {row.state if row is not None else 'not begun'}{_tried(row)}"
        yield from _calls(name, index, found)


def _tried(row: StepRow | None) -> str:
    return "" if row is None or not row.tried else f" by {row.worker}, after {', '.join(row.tried)}"


def _calls(name: str, index: int, found: Past) -> Iterator[str]:
    """The settled calls of a step, its tool turns in order."""
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
            yield from _call(id, call.payload, call.reply)


def _call(id: str, payload: dict[str, Any], reply: dict[str, Any]) -> Iterator[str]:
    tokens = reply["usage"]["prompt_tokens"] + reply["usage"]["completion_tokens"]
    took = f"{reply['seconds']:.2f} s, {tokens} tokens, ${reply['cost_usd']:.6f}"
    yield f"    call {id[:12]} to {payload['worker']}: {took}"
    for message in payload["messages"]:
        yield from _indented(f"{message['role']}: {_content(message)}")
    yield from _indented(f"-> {_content({**reply, 'content': reply['text']})}")


def _content(message: dict[str, Any]) -> str:
    calls = [f"{call['function']['name']}({call['function']['arguments']})" for call in message.get("tool_calls") or ()]
    return " ".join([str(message.get("content") or ""), *calls]).strip()


def _indented(text: str) -> Iterator[str]:
    return (f"      {line}" for line in text.splitlines())
