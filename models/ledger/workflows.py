"""The ledger's tables of workflows: their plans, the results of their steps, and the tool calls that wait for a client.

A plan is stored before any of its steps is paid. A step's row holds what its calls do not: which workers failed before,
and which tool calls a reply led to. The `put_…` functions and `hand_out` are changes for a `Journal`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, update

from models.errors import BadInput
from models.ledger.budgets import never_sent
from models.ledger.journal import Change
from models.ledger.plans import StoredPlan
from models.ledger.store import Ledger
from models.ledger.tables import calls, steps, tool_calls, tries, workflows
from models.ledger.text import storable


@dataclass(frozen=True)
class StepRow:
    """A step's state. `turns`: dicts of `call` (its id), `worker` and `tools` (ids of the tool calls it led to)."""

    state: str
    worker: str
    tried: tuple[str, ...] = ()
    turns: tuple[dict[str, Any], ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class ToolCall:
    """A tool call for the client. `id` is ours, `original` the worker's.

    `request`: the request whose answer handed it out; `result`: as the client returned it.
    """

    id: str
    workflow: str
    step: int
    conversation: str
    original: str
    name: str
    arguments: str
    request: str | None = None
    result: str | None = None


@dataclass(frozen=True)
class Settled:
    """A settled call: its request (`payload`) and its `reply`. `began` and `ended`: of the try that was settled."""

    payload: dict[str, Any]
    reply: dict[str, Any]
    began: datetime
    ended: datetime


@dataclass(frozen=True)
class Past:
    """The ledger's record of a request and its continuations; `calls`: the settled ones, by id.

    `usd`: cost of its tries, at the worst case where the price is not known; `tries`: their number, without those never
    sent. `scopes`: of all calls that it can have. `planned`: when each plan was stored.
    """

    scopes: tuple[str, ...] = ()
    planned: dict[str, datetime] = field(default_factory=dict)
    workflows: dict[str, StoredPlan] = field(default_factory=dict)
    steps: dict[tuple[str, int], StepRow] = field(default_factory=dict)
    tools: dict[str, ToolCall] = field(default_factory=dict)
    calls: dict[str, Settled] = field(default_factory=dict)
    usd: float = 0.0
    tries: int = 0


def past(ledger: Ledger, root: str) -> Past:
    """Read the record of the request `root` and its continuations."""
    with ledger.reading() as connection:
        columns = workflows.c.id, workflows.c.body, workflows.c.created_at
        found = connection.execute(select(*columns).where(workflows.c.request == root)).all()
        plans = {row.id: StoredPlan.model_validate(row.body) for row in found}
        scopes = _scopes(root, plans)
        of_steps = connection.execute(select(steps).where(steps.c.workflow.in_(scopes))).all()
        of_tools = connection.execute(select(tool_calls).where(tool_calls.c.workflow.in_(scopes))).all()
        last = (tries.c.call_id == calls.c.id) & (tries.c.attempt == calls.c.attempt)
        of_call = select(calls.c.id, calls.c.payload, calls.c.reply, tries.c.started_at, tries.c.ended_at)
        settled = of_call.join(tries, last).where(
            calls.c.status == "settled", calls.c.pruned_at.is_(None), calls.c.scope.in_(scopes)
        )
        replies = connection.execute(settled).all()
        costs = costs_of(connection, scopes, ledger.now(connection))
    return Past(
        tuple(scopes),
        {row.id: row.created_at for row in found},
        plans,
        {(row.workflow, row.step): _step(row) for row in of_steps},
        {row.id: tool_call_of(row) for row in of_tools},
        {row.id: Settled(row.payload, row.reply, row.started_at, row.ended_at) for row in replies},
        sum(row.cost_usd if row.cost_usd is not None else row.worst_usd for row in costs),
        len(costs),
    )


def scopes_of(ledger: Ledger, root: str) -> list[str]:
    """The scopes of all calls that the request `root` and its continuations can have."""
    with ledger.reading() as connection:
        return scopes_in(connection, root)


def scopes_in(connection: Connection, root: str) -> list[str]:
    """`scopes_of` in the caller's transaction."""
    found = connection.execute(select(workflows.c.id, workflows.c.body).where(workflows.c.request == root))
    return _scopes(root, {row.id: StoredPlan.model_validate(row.body) for row in found})


def costs_of(connection: Connection, scopes: Sequence[str], now: datetime) -> Sequence[Any]:
    """`cost_usd`, `worst_usd`, `status` and `lease_until` of each try in these scopes that was, or may be, paid."""
    columns = tries.c.cost_usd, tries.c.worst_usd, tries.c.status, calls.c.lease_until
    paid = select(*columns).join(calls, calls.c.id == tries.c.call_id)
    counted = calls.c.scope.in_(scopes), tries.c.status != "failed", ~never_sent(now)
    return connection.execute(paid.where(*counted)).all()


def _scopes(root: str, plans: Mapping[str, StoredPlan]) -> list[str]:
    """The ids of the workflows, and of those that could be next: the call that writes a plan is paid before its plan
    is stored.

    Next can be the round after each workflow, and the first round of each step, which the conductor may have taken
    itself. They are listed one by one, so that both databases can use an index.
    """
    scopes = {f"{root}/0", *plans}
    for id, plan in plans.items():
        path, _, number = id.rpartition("/")
        scopes.add(f"{path}/{int(number) + 1}")
        scopes.update(f"{id}/s{index}/0" for index in range(len(plan.steps)))
    return sorted(scopes)


def put_workflow(ledger: Ledger, id: str, request: str, conversation: str, plan: StoredPlan) -> Change[StoredPlan]:
    """Store a plan. The change's result is the plan in the ledger, which another process may have stored first."""

    def change(connection: Connection, now: datetime) -> StoredPlan:
        row = {"id": id, "request": request, "conversation": conversation, "body": plan.body, "created_at": now}
        connection.execute(ledger.insert(workflows).values(row).on_conflict_do_nothing())
        recorded = connection.execute(select(workflows.c.body).where(workflows.c.id == id)).scalar_one()
        return StoredPlan.model_validate(recorded)

    return change


def put_step(ledger: Ledger, workflow: str, index: int, row: StepRow) -> Change[None]:
    """Store a step's state, replacing its earlier row."""
    body = {"tried": list(row.tried), "turns": list(row.turns), "error": row.error}

    def change(connection: Connection, now: datetime) -> None:
        values = {"state": row.state, "worker": row.worker, "body": body, "updated_at": now}
        statement = ledger.insert(steps).values(workflow=workflow, step=index, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["workflow", "step"], set_=values))

    return change


def put_tool_calls(ledger: Ledger, rows: Sequence[ToolCall], ttl_s: float) -> Change[None]:
    """Store tool calls that a client is to run within `ttl_s` seconds; existing ones are kept."""

    def change(connection: Connection, now: datetime) -> None:
        times = {"created_at": now, "expires_at": now + timedelta(seconds=ttl_s)}
        values = [vars(row) | times for row in rows]
        connection.execute(ledger.insert(tool_calls).on_conflict_do_nothing(), values)

    return change


def hand_out(ids: Sequence[str], request: str) -> Change[None]:
    """Record that these tool calls go to the client with the answer to `request`: their results come back together."""

    def change(connection: Connection, now: datetime) -> None:
        free = tool_calls.c.id.in_(ids), tool_calls.c.request.is_(None)
        connection.execute(update(tool_calls).where(*free).values(request=request))

    return change


def take_results(ledger: Ledger, results: Mapping[str, str]) -> str:
    """Store a client's tool results, by tool call id; return the id of the request that handed the calls out.

    Storing the same results again changes nothing. Raises BadInput, and stores nothing, for an unknown or expired id,
    calls of different requests, a missing result of a call handed out with them, and a result that differs from the
    stored one.
    """
    if not results:
        raise BadInput("no tool result is given", "messages")
    results = {id: storable(result) for id, result in results.items()}
    with ledger.transaction() as connection:
        now = ledger.now(connection)
        locked = select(tool_calls).where(tool_calls.c.id.in_(results)).order_by(tool_calls.c.id).with_for_update()
        rows = {row.id: row for row in connection.execute(locked)}
        unknown = [id for id in results if id not in rows or rows[id].request is None]
        if unknown:
            raise BadInput(f"no tool call {unknown[0]!r} is waiting for a result", "messages")
        requests = {row.request for row in rows.values()}
        if len(requests) > 1:
            raise BadInput("the tool results belong to different answers", "messages")
        [request] = requests
        _complete(connection, request, results)
        for id, result in results.items():
            if rows[id].result is None and rows[id].expires_at <= now:
                raise BadInput(f"the tool call {id!r} has expired: send the request again", "messages")
            if rows[id].result not in (None, result):
                raise BadInput(f"the tool call {id!r} already has another result", "messages")
            connection.execute(update(tool_calls).where(tool_calls.c.id == id).values(result=result))
    return str(request)


def handed_out_by(ledger: Ledger, ids: Collection[str]) -> str | None:
    """The request whose answer carried one of these tool calls."""
    found = select(tool_calls.c.request).where(tool_calls.c.id.in_(ids), tool_calls.c.request.is_not(None))
    with ledger.reading() as connection:
        return connection.execute(found.order_by(tool_calls.c.id).limit(1)).scalar_one_or_none()


def conversation_of(ledger: Ledger, ids: Sequence[str]) -> str | None:
    """The conversation of the newest of these tool calls that is known."""
    found = select(tool_calls.c.conversation).where(tool_calls.c.id.in_(ids))
    with ledger.reading() as connection:
        newest = found.order_by(tool_calls.c.created_at.desc(), tool_calls.c.id).limit(1)
        return connection.execute(newest).scalar_one_or_none()


def _complete(connection: Connection, request: str, results: Mapping[str, str]) -> None:
    together = set(connection.execute(select(tool_calls.c.id).where(tool_calls.c.request == request)).scalars())
    lacking = sorted(together - set(results))
    if lacking:
        raise BadInput(
            f"the answer asked for {len(together)} tool results together, and that of {lacking[0]!r} is missing",
            "messages",
        )


def _step(row: Any) -> StepRow:
    body = row.body
    return StepRow(row.state, row.worker, tuple(body["tried"]), tuple(body["turns"]), body["error"])


def tool_call_of(row: Any) -> ToolCall:
    return ToolCall(**{name: getattr(row, name) for name in ToolCall.__dataclass_fields__})
