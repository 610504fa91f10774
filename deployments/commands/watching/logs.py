"""`fugu logs`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands.options import Home

if TYPE_CHECKING:
    from models.ledger.looking.latest import Line
    from models.ledger.looking.story import Call, Story, Try

Event = tuple[datetime, list[str]]
"""When something happened, and the lines that say it."""

LAST = 20
"""Requests that are listed where none is named."""


def logs(
    request: Annotated[
        str | None,
        typer.Option(help="A request's id, as in X-Request-Id.", show_default="list the last ones"),
    ] = None,
    texts: Annotated[bool, typer.Option("--texts", help="Print what was asked, replied and complained, too.")] = False,
    home: Home = None,
) -> None:
    """Print all that the ledger knows of one request, in order: decisions, plan, calls, tries, errors, costs."""
    from deployments.migrations import upgrade
    from models.ledger.looking.latest import latest
    from models.ledger.looking.story import story
    from tasks.setup.settings import open_ledger, settings

    upgrade(settings().database)
    ledger = open_ledger()
    if request is None:
        for each in reversed(latest(ledger, LAST)):
            typer.echo(_listed(each))
        return
    found = story(ledger, request)
    for at, lines in sorted(_events(found, texts), key=lambda event: event[0]):
        typer.echo(f"{_clock(at)}  {lines[0]}")
        for part in "\n".join(lines[1:]).splitlines():
            typer.echo(f"    {_printable(part)}")
    for line in _closing(found):
        typer.echo(line)


def _listed(line: Line) -> str:
    told = line.figures
    took = "" if told["seconds"] is None else f" after {told['seconds']:.2f} s"
    error = f" ({told['error']})" if told["error"] else ""
    return f"{_clock(line.at)}  {line.id}  {told['model']}: {told['status']}{error}{took}, worker {told['worker']}"


def _events(found: Story, texts: bool) -> Iterator[Event]:
    row = found.row
    words = ["request " + row["id"] + f" to {row.get('model')}"]
    words[0] += f", continues {row['continues']}" if row.get("continues") else ""
    yield found.began, words
    for step in row.get("steps") or ():
        yield found.began, [_decided(step)]
    for name, at in found.past.planned.items():
        yield at, list(_plan(found, name, texts))
    for call in found.calls:
        for one in call.tries:
            yield from _tried(call, one, texts)
    if row.get("seconds") is not None:
        yield found.began + timedelta(seconds=row["seconds"]), [_ended(row)]


def _decided(step: Mapping[str, Any]) -> str:
    role = f" as {step['role']}" if step.get("role") else ""
    margin = "" if step.get("margin") is None else f", margin {step['margin']:+.4f}"
    kept = ", which had the conversation" if step.get("kept") else ""
    failed = f": {step['error']}" if step.get("error") else ""
    return f"decided: {step['worker']}{role}{margin}{kept}{failed}"


def _plan(found: Story, name: str, texts: bool) -> Iterator[str]:
    from models.conductor.run.planner import Plan

    stored = found.past.workflows[name]
    plan = Plan(stored)
    fallback = "" if stored.fallback is None else ", one step on the router's best worker"
    refused = f", {len(stored.complaints)} refused before" if stored.complaints else ""
    yield f"plan {name} by {stored.policy}: {len(stored.steps)} steps{fallback}{refused}"
    for index, step in enumerate(stored.steps):
        row = found.past.steps.get((name, index))
        sees = ", ".join(str(plan.numbers[seen] + 1) for seen in plan.workflow.sees(index))
        state = "not started" if row is None else row.state
        worker = step.worker if row is None else row.worker
        after = f", after {', '.join(row.tried)}" if row is not None and row.tried else ""
        yield f"step {step.index + 1}: {worker}{after}{', sees ' + sees if sees else ''}: {state}"
        if texts:
            yield f"  subtask: {step.subtask}"
    if texts:
        yield from (f"refused: {complaint}" for complaint in stored.complaints)
        yield from (f"{finding.code}: {finding.message}" for finding in stored.findings)


def _tried(call: Call, one: Try, texts: bool) -> Iterator[Event]:
    from deployments.endpoint.pages.plans import said
    from models.workers.ask import text_of

    name = f"call {call.id[:12]} to {call.worker}, try {one.attempt}"
    begun = [f"{name}: sent in {call.scope}, at most ${one.worst_usd:.6f}"]
    if texts:
        messages = call.payload.get("messages") or ()
        begun += [f"{each['role']}: {text_of(each.get('content'), mark_others=True)}" for each in messages]
    yield one.started_at, begun
    if one.ended_at is None:
        return
    took = "" if one.seconds is None else f" after {one.seconds:.2f} s"
    cost = ", its cost is not known" if one.cost_usd is None else f", ${one.cost_usd:.6f}"
    ended = [f"{name}: {one.status}{took}{_tokens(call) if one.status == 'settled' else ''}{cost}"]
    if texts and one.error is not None:
        ended.append(f"error: {one.error}")
    if texts and one.status == "settled" and call.reply is not None:
        ended.append(f"-> {said(call.reply)}")
    yield one.ended_at, ended


def _tokens(call: Call) -> str:
    usage = (call.reply or {}).get("usage")
    if usage is None:
        return ""
    estimated = " (estimated)" if usage.get("estimated") else ""
    return f", {usage['prompt_tokens']} + {usage['completion_tokens']} tokens{estimated}"


def _ended(row: Mapping[str, Any]) -> str:
    error = f", {row['error']}" if row.get("error") else ""
    return f"ended: {row['status']}{error} after {row['seconds']:.2f} s, answered by {row.get('worker') or 'nobody'}"


def _closing(found: Story) -> Iterator[str]:
    from deployments.endpoint.pages.runs import run_url
    from deployments.home import find_note, secret
    from models.errors import NotFound
    from tasks.setup.settings import settings

    yield f"cost       ${sum(call.cost_usd for call in found.calls):.6f}, calls: {len(found.calls)}"
    if found.is_pruned:
        yield f"texts      were deleted at {found.row['pruned']}"
    if found.row.get("trace_id"):
        yield f"trace      {found.row['trace_id']}"
    home = settings().home
    try:
        note = find_note(home)
    except NotFound:
        return
    if note.endpoint:
        yield f"page       {note.endpoint}/requests/{found.row['id']}"
    if found.row.get("request") and (run := run_url(found.row["id"], f"{note.prefect}/api", secret(home))):
        yield f"Prefect    {run}"


def _printable(line: str) -> str:
    """Without the characters that would command a terminal."""
    return "".join(each if each.isprintable() or each == "\t" else "\N{REPLACEMENT CHARACTER}" for each in line)


def _clock(time: datetime) -> str:
    """A UTC time to the millisecond."""
    return f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03d}"
