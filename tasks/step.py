"""Tasks that run a workflow: one plans a round, one takes a step. Each works from the ledger alone, in any process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.states import Cancelled, Completed

from models.conductor.run.recorded import RecordedRound, RecordedRun
from models.digest import json_digest
from models.errors import LimitReached, NotFound
from tasks.caching import PAID, REVISION, kept_or_new
from tasks.quiet import task
from tasks.setup.conductor import TRIES, conductor_of
from tasks.setup.process import on_loop, wait_for
from tasks.setup.session import Access, session_of

WAITS_IN_THE_LEDGER: dict[str, Any] = PAID | {"retry_delay_seconds": 0, "retry_jitter_factor": None}
"""Options of a task whose call waits for its next try by itself: the ledger has the earliest time, the upstream's
Retry-After included, for all processes.
"""


PASSED_OVER: dict[str, Any] = {
    "name": "PassedOver",
    "message": "not asked: a limit was reached, or the request was cancelled",
}


def passed_over() -> State[Any]:
    """The state of a step that is not asked. Completed: in Prefect a task whose input is Cancelled stays Pending for
    ever. The steps that see this one are passed over, too.
    """
    return Completed(**PASSED_OVER)


@dataclass(frozen=True)
class Conducted:
    """What the tasks of one request need: the session, the plan writer (as in FUGU_CONDUCTOR), the request's id.

    `path`: of the step that a nested request run answers, "" for the request's own.
    """

    access: Access
    conductor: str
    request: str
    path: str = ""


async def recorded(of: Conducted, work: Any) -> Any:
    """The result of `work(RecordedRun)` on the process's loop, with the request as the ledger has it now."""

    async def read() -> Any:
        with session_of(of.access) as session:
            opened = await conductor_of(session, of.conductor)
            return await work(await RecordedRun.opened(opened.parts, opened.journal, of.request, of.path))

    return await on_loop(read())


def _plan_key(context: TaskRunContext, given: dict[str, Any]) -> str | None:
    of, round = given["of"], given["round"]

    async def key(run: RecordedRun) -> tuple[list[Any], bool]:
        last = await run.last(round - 1) if round else None
        seen = None if last is None else [last.state, *last.call_ids]
        asked = [of.conductor, run.rounds.request.model_dump(mode="json"), run.rounds.id(round), seen]
        return asked, await run.rounds.recorded(round) is not None

    return _key(context, of, key)


def _step_key(context: TaskRunContext, given: dict[str, Any]) -> str | None:
    return _key(context, given["of"], lambda run: run.meaning(given["round"], given["index"]))


def _key(context: TaskRunContext, of: Conducted, meaning: Any) -> str | None:
    """A cache key of what is asked, in this ledger. A result is only taken while the ledger has what it stands for.

    `meaning`: gives that of a recorded run, and whether the ledger has what came of it.
    """

    async def read(run: RecordedRun) -> tuple[Any, bool, str]:
        asked, known = await meaning(run)
        return asked, known, run.state.parts.ledger.name

    try:
        asked, known, ledger = wait_for(recorded(of, read))
    except (NotFound, LimitReached):
        return None
    return kept_or_new(json_digest([context.task.name, REVISION, ledger, asked]), known)


@task(task_run_name="plan of round {round}", cache_key_fn=_plan_key, **WAITS_IN_THE_LEDGER | {"retries": TRIES.tries})
async def plan_round(of: Conducted, round: int) -> str | State[Any]:
    """One try to plan the round. Returns its workflow's id; the plan is in the ledger."""

    async def plan(run: RecordedRun) -> str:
        await run.plan(round)
        return run.rounds.id(round)

    try:
        return str(await recorded(of, plan))
    except LimitReached:
        return Cancelled(**PASSED_OVER)


@task(task_run_name="{label}", cache_key_fn=_step_key, **WAITS_IN_THE_LEDGER)
async def run_step(of: Conducted, round: int, index: int, label: str, sees: Sequence[Any]) -> str | State[Any]:
    """One try of the step. Returns its state and its calls' ids: texts are in the ledger only.

    `sees`: the results of the steps that it sees, for Prefect's order and graph; it reads them from the ledger.
    """

    async def attempt(run: RecordedRun) -> tuple[bool, str, tuple[str, ...]]:
        tried = await run.try_step(round, index)
        return tried.ended, tried.record.state, tried.record.call_ids

    ended = False
    while not ended:  # a worker that refused for good is replaced at once
        ended, state, calls = await recorded(of, attempt)
    if state in ("passed over", "waiting"):
        return passed_over()
    return " ".join([state, *calls])


def stepping(found: RecordedRound) -> Task[..., Any]:
    """`run_step`, with as many retries as a step of the round may have transient failures."""
    return run_step.with_options(retries=found.rounds.state.most_failures)
