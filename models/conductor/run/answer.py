"""The result of a conducted request: the answer, its usage and cost, and the trace of how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from models.conductor.run.planner import Plan
from models.conductor.run.request import ConductAnswer, StepRecord
from models.conductor.run.state import RunState
from models.errors import BudgetExceeded, LimitReached
from models.ledger.plans import StoredStep
from models.workers.ask import Reply, Usage, total


class Round(Protocol):
    """A round whose steps have been run, or read."""

    id: str

    @property
    def records(self) -> Sequence[StepRecord]: ...

    def nested(self, index: int) -> ConductAnswer | None: ...

    def replies(self, index: int) -> Sequence[tuple[Reply, str]]: ...


Steps = list[tuple[Round, StepRecord]]


def concluded(plans: Sequence[Plan], rounds: Sequence[Round], state: RunState) -> ConductAnswer:
    """The answer of a request run. Raises LimitReached if a limit was reached before any step was finished,
    BudgetExceeded where that was a budget."""
    ended = state.meter.ended
    steps = [(workflow_run, record) for workflow_run in rounds for record in workflow_run.records]
    trace = {"rounds": _rounds(plans, rounds, state), "ended": ended}
    pending = [one for one in steps if one[1].state == "awaiting-tools"]
    best = None if pending and ended is None else _best(rounds)
    if best is not None:
        return _answered(best, ended, steps, plans, state, trace)
    if pending:
        return _awaiting(pending, steps, plans, state, trace)
    if state.over_budget is not None:
        raise BudgetExceeded(state.over_budget)
    raise LimitReached(f"the request's limit {ended} was reached before any step was finished", ended or "")


def _best(rounds: Sequence[Round]) -> tuple[Round, StepRecord] | None:
    """The last complete answer; if there is none, the last finished step."""
    whole = [(each, each.records[-1]) for each in rounds if each.records[-1].state == "done"]
    some = [(each, record) for each in rounds for record in each.records if record.state == "done"]
    found = whole or some
    return found[-1] if found else None


def _answered(
    best: tuple[Round, StepRecord],
    ended: str | None,
    steps: Steps,
    plans: Sequence[Plan],
    state: RunState,
    trace: dict[str, Any],
) -> ConductAnswer:
    workflow_run, record = best
    spent = _spent(steps, plans, state, [best])
    length = ended is not None or record.finish_reason == "length"
    reason: Literal["stop", "length"] = "length" if length else "stop"
    nested = workflow_run.nested(record.index)
    worker = nested.worker if nested is not None else record.worker
    answering = {"workflow": workflow_run.id, "step": record.number}
    return ConductAnswer(record.text, reason, worker, (), **vars(spent), trace=trace | {"answering": answering})


def _awaiting(
    pending: Steps, steps: Steps, plans: Sequence[Plan], state: RunState, trace: dict[str, Any]
) -> ConductAnswer:
    calls = tuple(call for _, record in pending for call in record.tool_calls)
    spent = _spent(steps, plans, state, pending)
    worker = pending[-1][1].worker
    return ConductAnswer(None, "tool_calls", worker, calls, **vars(spent), trace=trace | {"answering": None})


@dataclass(frozen=True)
class _Spent:
    usage: Usage
    orchestration: Usage
    cost_usd: float
    calls: int


def _spent(steps: Steps, plans: Sequence[Plan], state: RunState, answering: Steps) -> _Spent:
    """Usage and cost of this request; those of the requests it continues were reported with their answers."""
    mine = state.request.id
    plan_calls = [call for plan in plans if plan.stored.request == mine for call in plan.stored.calls]
    replies = [state.reply(call) for call in plan_calls]
    last, nested = [], []
    for workflow_run, record in steps:
        own = [reply for reply, made_in in workflow_run.replies(record.index) if made_in == mine]
        inner = workflow_run.nested(record.index)
        is_answering = any(one[1] is record for one in answering)
        if inner is not None:
            nested.append(inner)
            last += [inner.usage] if is_answering else []
        elif is_answering and own:
            last.append(own[-1].usage)
        replies += own
    everything = total([reply.usage for reply in replies] + [u for n in nested for u in (n.usage, n.orchestration)])
    usage = total(last)
    rest = {name: getattr(everything, name) - getattr(usage, name) for name in Usage.model_fields}
    rest["estimated"] = everything.estimated
    cost = sum(reply.cost_usd for reply in replies) + sum(inner.cost_usd for inner in nested)
    return _Spent(usage, Usage(**rest), cost, len(replies) + sum(inner.calls for inner in nested))


def _rounds(plans: Sequence[Plan], rounds: Sequence[Round], state: RunState) -> list[dict[str, Any]]:
    traced = []
    for number, plan in enumerate(plans):
        stored = plan.stored
        names = {"policy", "prompt", "ordinals", "texts", "complaints", "findings", "fallback", "not_asked"}
        workflow_run = rounds[number] if number < len(rounds) else None
        records = workflow_run.records if workflow_run is not None else []
        traced.append(
            {
                "workflow": workflow_run.id if workflow_run is not None else None,
                **stored.model_dump(mode="json", include=names),
                "pruned": [_pruned(step) for step in stored.pruned],
                "accepted": plan.accepts,
                "plan_usd": sum(state.reply(call).cost_usd for call in stored.calls),
                "plan_seconds": sum(state.reply(call).seconds for call in stored.calls),
                "steps": [_step(workflow_run, records, record) for record in records if workflow_run is not None],
            }
        )
    return traced


def _pruned(step: StoredStep) -> dict[str, Any]:
    return {"number": step.index + 1, "worker": step.worker, "subtask": step.subtask}


def _step(workflow_run: Round, records: Sequence[StepRecord], record: StepRecord) -> dict[str, Any]:
    """A step's trace; numbers are those shown to the workers."""
    nested = workflow_run.nested(record.index)
    return {
        "number": record.number,
        "worker": record.worker,
        "subtask": record.subtask,
        "sees": [records[seen].number for seen in record.sees],
        "state": record.state,
        "tried": list(record.tried),
        "error": record.error,
        "call_ids": list(record.call_ids),
        "prompt_tokens": record.usage.prompt_tokens,
        "completion_tokens": record.usage.completion_tokens,
        "estimated": record.usage.estimated,
        "cost_usd": record.cost_usd,
        "seconds": record.seconds,
        "conducted": nested.trace if nested is not None else None,
    }
