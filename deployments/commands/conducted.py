"""Shared code of `resume`, `replay` and `show`: a request's row in the ledger, its body and its unsettled calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from models.conductor.run.request import ConductAnswer, ConductRequest
    from models.ledger.store import Ledger


def open_row(id: str) -> tuple[Ledger, dict[str, Any]]:
    """Open the ledger and read the request's row. Raises NotFound, Pruned."""
    from deployments.migrations import upgrade
    from models.ledger.requests import get_request
    from tasks.setup.settings import open_ledger, settings

    upgrade(settings().database)
    ledger = open_ledger()
    return ledger, get_request(ledger, id)


def request_of(row: Mapping[str, Any]) -> ConductRequest:
    """The conducted request in a row. Raises BadInput if it has no workflow."""
    from models.conductor.run.request import ConductRequest
    from models.errors import BadInput

    if row.get("request") is None:
        raise BadInput(f"the request {row['id']!r} to {row.get('model')!r} has no workflow")
    return ConductRequest.model_validate(row["request"])


def open_request(id: str) -> tuple[Ledger, dict[str, Any], ConductRequest]:
    """The ledger, the request's row and the request in it. Raises NotFound, Pruned, BadInput."""
    ledger, row = open_row(id)
    return ledger, row, request_of(row)


def body_of(row: Mapping[str, Any], conducted: ConductAnswer) -> dict[str, Any]:
    """The final body in the form of the endpoint or of the batch."""
    from deployments.endpoint.wire.response import ULTRA, conducted_body
    from tasks import batch

    if row["model"] == ULTRA:
        return conducted_body(row["id"], row["created"], conducted)
    return batch.body_of(conducted)


def answer_text(body: Mapping[str, Any]) -> str:
    """The answer in a final body, or the tool calls that it waits for."""
    message = body["choices"][0]["message"] if "choices" in body else {**body, "content": body["text"]}
    calls = message.get("tool_calls") or ()
    if calls:
        lines = [f"{call['id']} {call['function']['name']}({call['function']['arguments']})" for call in calls]
        return "\n".join(["waits for the client's tools:", *lines])
    return str(message["content"] or "")


def print_maybe_paid(ledger: Ledger, root: str) -> None:
    """Print a line on standard error for each call of the request that died in flight and may have been paid."""
    from models.ledger.accounts import maybe_paid
    from models.ledger.workflows import scopes_of

    for row in maybe_paid(ledger, scopes_of(ledger, root)):
        started = f"{row['started_at']:%Y-%m-%d %H:%M:%S}"
        what = f"{row['call_id'][:12]} try {row['attempt']} of {row['worker']} in {row['scope']}"
        typer.echo(f"maybe paid: {what}, {started} UTC, at most ${row['worst_usd']:.6f}", err=True)
