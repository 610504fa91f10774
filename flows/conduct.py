"""Answer a batch of questions by workflows: a conductor writes the plan, workers run the steps, the last step answers.

Conductor: arXiv 2512.04388. Prefect runs it: each question is a subflow, each round's plan a task, each step a
task that is submitted with the results of the steps that it sees, on threads, Dask or Ray. All work from the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from operator import methodcaller
from typing import Any

from prefect import allow_failure
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Cancelled
from pydantic import Field

from models.conductor.run import rows
from models.conductor.run.planner import CONDUCTOR
from models.conductor.run.recorded import End, RecordedRound, RecordedRun
from models.conductor.run.request import ConductAnswer, ConductRequest, Limits
from models.errors import FuguError
from models.ledger.accounts import in_doubt
from models.ledger.requests import Row, get_request
from tasks import parameters
from tasks.batch import MODEL, begin_request, body_of, end_request, request_id
from tasks.cancelling import Cancelling, watched
from tasks.named import CANCELLED, run_named
from tasks.pages.names import label_of, question_of, title_of
from tasks.pages.report import table
from tasks.pages.workflow import tag_run, workflow_page
from tasks.quiet import flow
from tasks.setup.conductor import chosen
from tasks.setup.questions import QUESTIONS, id_content, load_inputs
from tasks.setup.runner import ended, submitted
from tasks.setup.session import Session, all_ended, open_session
from tasks.setup.settings import HOUSE
from tasks.setup.texts import shown, what
from tasks.step import Conducted, plan_round, recorded, stepping

CONCURRENT_QUESTIONS = 16
"""Questions of a batch that run concurrently."""


@flow(name="conduct", flow_run_name="conduct {conductor}", persist_result=False)
async def conduct(
    questions: str | list[str] = Field(description=QUESTIONS),
    pool: str = Field(HOUSE, description=parameters.POOL),
    conductor: str = Field(
        "", description="the plan writer: house, a folder, worker:NAME, fixed:PATH; empty: as FUGU_CONDUCTOR is unset"
    ),
    name: str = Field("", description=parameters.NAME),
    recursive: bool = Field(False, description="whether the conductor sees the answer and may plan another round"),
    max_usd: float = Field(0.0, ge=0, description=parameters.MAX_USD),
    max_usd_each: float | None = Field(None, ge=0, description="spending limit of one question in USD"),
    max_calls_each: int | None = Field(None, ge=1, description="maximum calls of one question"),
    max_seconds_each: float | None = Field(None, gt=0, description="maximum seconds of one question"),
) -> Any:
    """Returns the answers in the order of the questions. A run that was killed pays only for what is missing.

    At a limit of the run or of a question, the best finished answer is returned; if there is none, LimitReached is
    raised after every question has ended. Raises BadInput for literal questions where texts may not be shown. A
    cancelled question has the answer ""; a cancelled run sends nothing new, and waits for what was sent.
    """
    batch = await asyncio.to_thread(load_inputs, questions)
    limits = Limits(max_usd=max_usd_each, max_calls=max_calls_each, max_seconds=max_seconds_each, depth=1)
    async with open_session(pool, max_usd) as session:
        if not conductor:
            conductor = (await asyncio.to_thread(chosen, conductor, session.ledger, session.pool)).setting
        content = {"pool": session.pool.fingerprint, "conductor": conductor, "name": name, "recursive": recursive}
        content |= limits.model_dump(exclude_none=True, exclude={"depth"})  # other limits make another request
        allowed = tuple(worker.name for worker in session.pool.workers if not worker.is_recorded)
        requests = [
            ConductRequest(
                id=request_id(id_content(messages), number, content),
                messages=messages,
                allowed=allowed,
                limits=limits,
                recursive=recursive,
            )
            for number, messages in enumerate(batch)
        ]
        gate = asyncio.Semaphore(CONCURRENT_QUESTIONS)
        async with watched(session.ledger) as cancelling:

            async def answer(request: ConductRequest) -> Row | None:
                async with gate:
                    try:
                        return await _answered(session, conductor, request, cancelling)
                    except FuguError:
                        if cancelling.all:  # a cancelled run has no other end
                            return None
                        raise

            found = await all_ended(*map(answer, requests))
            table_rows = [_row(request, row) for request, row in zip(requests, found, strict=True)]
            await table("answers", table_rows, _happened(found))
            if cancelling.all:
                return Cancelled(message="the run was cancelled; what had been sent is settled")
    return ["" if row is None else row["body"]["text"] or "" for row in found]


def _happened(found: Sequence[Row | None]) -> str:
    """What came of a batch, and what to do next."""
    answered = [row for row in found if row is not None]
    cut = sum(bool(row["trace"]["ended"]) for row in answered)
    limited = f", {cut} of them cut off by a limit" if cut else ""
    said = f"{len(answered)} of {len(found)} questions were answered{limited}, for "
    said += f"{sum(row['cost_usd'] for row in answered):.6f} USD. Each has a subflow with its workflow"
    return f"{said}; `fugu show ID` prints its texts."


def _row(request: ConductRequest, row: Row | None) -> dict[str, Any]:
    """A row of the table of answers; `fugu show` prints the texts."""
    words = {"question": question_of(request)} if shown() else {}
    if row is None:
        return {"request": request.id, **words, "cut off by": "cancelled"}
    words |= {"answer": row["body"]["text"] or ""} if shown() else {}
    return {"request": request.id, **words, "cut off by": row["trace"]["ended"] or "", "USD": row["cost_usd"]}


async def _answered(session: Session, conductor: str, request: ConductRequest, cancelling: Cancelling) -> Row | None:
    """Answer one question in a subflow; `None` if it was cancelled."""
    if cancelling.all:
        return None
    ledger, of = session.ledger, Conducted(session.access, conductor, request.id)
    await asyncio.to_thread(begin_request, ledger, request)
    with cancelling.of(request.id):
        state = await _run(of, title_of(request))
    if state.is_cancelled():
        await asyncio.to_thread(end_request, ledger, request.id, {"status": "cancelled"})
        return None
    try:
        await state.aresult()
    except FuguError as error:
        await asyncio.to_thread(end_request, ledger, request.id, rows.failed(error))
        raise
    return await asyncio.to_thread(get_request, ledger, request.id)


async def _run(of: Conducted, title: str) -> State[Any]:
    """The state in which the subflow of a request, or of a step that the conductor takes, ends."""
    return await run_named(workflow, title, (MODEL, of.request), {"of": of, "title": title})


@flow(name="workflow")
async def workflow(of: Conducted, title: str) -> Any:
    """Run one conducted request, or a step that the conductor itself takes: each round's plan, then its steps."""
    number, before, failed, goes_on = 0, list[PrefectFuture[Any]](), list[State[Any]](), True
    while goes_on:
        plan = await submitted(plan_round, of, number, wait_for=before)
        planned, failed = await _finished([plan])
        found = await recorded(of, methodcaller("round", number)) if planned else None
        if found is None or found.plan.accepts:
            break
        before = await _submitted(of, found, plan)
        _, failed = await _finished(before)
        number += 1
        goes_on = not failed and found.may_go_on and await recorded(of, methodcaller("another", number))
    return await _concluded(of, title, failed)


async def _finished(futures: Sequence[PrefectFuture[Any]]) -> tuple[bool, list[State[Any]]]:
    """Wait for the futures. Whether all of them completed, and the states of those that failed."""
    states = await ended(futures)
    return all(state.is_completed() for state in states), [s for s in states if s.is_failed() or s.is_crashed()]


async def _submitted(of: Conducted, found: RecordedRound, plan: PrefectFuture[Any]) -> list[PrefectFuture[Any]]:
    """A task for each step, with the futures of the steps that it sees: Prefect orders them, and draws the arrows."""
    step = stepping(found)

    async def submit(index: int) -> PrefectFuture[Any]:
        record = found.records[index]
        sees = [await futures[other] for other in record.sees]
        if record.worker == CONDUCTOR:
            await ended([plan, *sees])
            await _run(replace(of, path=f"{found.id}/s{index}"), label_of(record))
        # A step that failed or was passed over does not keep the others from saying that they were passed over.
        results = [allow_failure(future) for future in sees]
        first = [] if sees else [plan]
        return await submitted(step, of, found.number, index, label_of(record), results, wait_for=first)

    futures = [asyncio.create_task(submit(index)) for index in range(len(found.records))]
    return list(await asyncio.gather(*futures))


async def _concluded(of: Conducted, title: str, failed: Sequence[State[Any]]) -> Any:
    """The run's state is that of the answer, which the ledger has; the page shows plans, steps and answer."""
    end: End = await recorded(of, RecordedRun.end)
    error: Exception | None = None
    for state in failed:
        error = error or await _error_of(state)
    error = error or end.error  # of a task that failed, the ledger may know nothing
    why = what(error) if error and not end.cancelled else ""
    await workflow_page(of.request, title, end.rounds, end.answer, why)
    if end.cancelled:
        return Cancelled(message=CANCELLED)
    if error is not None:
        raise error
    assert end.answer is not None
    if end.answer.tool_calls:
        await tag_run("awaiting-tools")
    if not of.path:
        await recorded(of, partial(_keep, end.answer))
    return end.answer.finish_reason


async def _error_of(state: State[Any]) -> Exception | None:
    try:
        await state.aresult()
    except Exception as error:
        return error
    return None


async def _keep(answer: ConductAnswer, run: RecordedRun) -> None:
    """Record the answer in the request's row."""
    ledger, request = run.state.parts.ledger, run.rounds.request
    lost = await asyncio.to_thread(in_doubt, ledger, request.root)
    row = rows.answered(request.id, answer, body_of(answer), lost)
    await asyncio.to_thread(end_request, ledger, request.id, row)
