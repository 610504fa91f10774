"""Answer a batch of questions by workflows: a conductor writes the plan, workers run the steps, the last step answers.

Conductor: arXiv 2512.04388. Prefect runs it: each question is a subflow, each round's plan a task, each step a
task that is submitted with the results of the steps that it sees, on threads, Dask or Ray. All work from the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from operator import methodcaller
from pathlib import Path
from typing import Any

from prefect import allow_failure
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH
from prefect.states import Cancelled
from pydantic import Field

from models.conductor.run import rows
from models.conductor.run.planner import CONDUCTOR
from models.conductor.run.recorded import RecordedRound, RecordedRun
from models.conductor.run.request import ConductAnswer, ConductRequest, Limits
from models.errors import FuguError
from models.ledger.accounts import in_doubt
from tasks.batch import begin_request, begin_time, body_of, end_request, request_id
from tasks.cancelling import Cancelling, watched
from tasks.pages.names import label_of, question_of, title_of
from tasks.pages.report import table
from tasks.pages.workflow import tag_run, workflow_page
from tasks.quiet import flow
from tasks.setup.inputs import QUESTIONS, id_content, load_inputs
from tasks.setup.process import ended
from tasks.setup.session import Session, all_ended, open_session
from tasks.setup.texts import shown, what
from tasks.step import Conducted, plan_round, recorded, stepping

CONCURRENT_QUESTIONS = 16
"""Questions of a batch that run concurrently."""


@flow(name="conduct", flow_run_name="conduct {conductor}", persist_result=False)
async def conduct(
    questions: str | list[str] = Field(description=QUESTIONS),
    pool: str = "house",
    conductor: str = Field("house", description="the plan writer: house, a folder, worker:NAME, fixed:PATH"),
    name: str = Field("", description="a new name repeats questions that were answered before"),
    recursive: bool = Field(False, description="whether the conductor sees the answer and may plan another round"),
    max_usd: float = Field(0.0, ge=0, description="spending limit of this run in USD"),
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

            async def answer(request: ConductRequest) -> ConductAnswer | None:
                async with gate:
                    return await _answered(session, conductor, request, cancelling)

            found = await all_ended(*map(answer, requests))
            table_rows = [_row(request, conducted) for request, conducted in zip(requests, found, strict=True)]
            await table("answers", table_rows, "conduct")
            if cancelling.all:
                return Cancelled(message="the run was cancelled; what had been sent is settled")
    return ["" if conducted is None else conducted.text or "" for conducted in found]


def _row(request: ConductRequest, conducted: ConductAnswer | None) -> dict[str, Any]:
    """A row of the table of answers; `fugu show` prints the texts."""
    words = {"question": question_of(request)} if shown() else {}
    if conducted is None:
        return {"request": request.id, **words, "cut off by": "cancelled"}
    words |= {"answer": conducted.text or ""} if shown() else {}
    ended = conducted.trace["ended"]
    return {"request": request.id, **words, "cut off by": ended or "", "USD": conducted.cost_usd}


async def _answered(
    session: Session, conductor: str, request: ConductRequest, cancelling: Cancelling
) -> ConductAnswer | None:
    """Answer one question in a subflow; `None` if it was cancelled."""
    if cancelling.all:
        return None
    ledger, of = session.ledger, Conducted(session.access, conductor, request.id)
    await asyncio.to_thread(begin_request, ledger, request)
    await asyncio.to_thread(begin_time, ledger, request)
    run = _kept_in(PREFECT_LOCAL_STORAGE_PATH.value())
    try:
        with cancelling.of(request.id):
            state: State[Any] = await run(of, title_of(request), return_state=True)
        if state.is_cancelled():
            await asyncio.to_thread(end_request, ledger, request.id, {"status": "cancelled"})
            return None
        conducted: ConductAnswer = await recorded(of, RecordedRun.answer)
        await state.aresult()
    except FuguError as error:
        await asyncio.to_thread(end_request, ledger, request.id, rows.failed(error))
        raise
    lost = await asyncio.to_thread(in_doubt, ledger, request.root)
    answered = rows.answered(request.id, conducted, body_of(conducted), lost)
    await asyncio.to_thread(end_request, ledger, request.id, answered)
    return conducted


@lru_cache(maxsize=1)
def _kept_in(folder: Path) -> Any:
    """The flow with a fixed result folder: otherwise each run queries the server for it and blocks the event loop."""
    return workflow.with_options(result_storage=folder)


@flow(name="workflow", flow_run_name="{title}")
async def workflow(of: Conducted, title: str) -> Any:
    """Run one conducted request, or a step that the conductor itself takes: each round's plan, then its steps."""
    number, before, failed = 0, list[PrefectFuture[Any]](), list[State[Any]]()
    while not failed and (not number or await recorded(of, methodcaller("another", number))):
        plan: PrefectFuture[Any] = plan_round.submit(of, number, wait_for=before)  # type: ignore[call-overload]
        planned, failed = await _finished([plan])
        found = await recorded(of, methodcaller("round", number)) if planned else None
        if found is None or found.plan.accepts:
            break
        before = await _submitted(of, found, plan)
        _, failed = await _finished(before)
        number += 1
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
        sees = [await submitted[other] for other in record.sees]
        if record.worker == CONDUCTOR:
            await ended([plan, *sees])
            await workflow(replace(of, path=f"{found.id}/s{index}"), label_of(record), return_state=True)
        # A step that failed or was passed over does not keep the others from saying that they were passed over.
        results = [allow_failure(future) for future in sees]
        future: PrefectFuture[Any] = step.submit(of, found.number, index, label_of(record), results, wait_for=[plan])
        return future

    submitted = [asyncio.create_task(submit(index)) for index in range(len(found.records))]
    return list(await asyncio.gather(*submitted))


async def _concluded(of: Conducted, title: str, failed: Sequence[State[Any]]) -> Any:
    """The run's state is that of the answer, which the ledger has; the page shows plans, steps and answer."""
    rounds, cancelled = await recorded(of, _rounds_and_end)
    conducted: ConductAnswer | None = None
    try:
        conducted = await recorded(of, RecordedRun.answer)
        for state in failed:
            await state.aresult()
    except FuguError as error:
        if not cancelled:
            await workflow_page(title, rounds, None, what(error))
            raise
    await workflow_page(title, rounds, conducted)
    if cancelled:
        return Cancelled(message="the request was cancelled")
    assert conducted is not None
    if conducted.tool_calls:
        await tag_run("awaiting-tools")
    return conducted.finish_reason


async def _rounds_and_end(run: RecordedRun) -> tuple[list[RecordedRound], bool]:
    return await run.all_rounds(), run.state.notes.cancelled is not None
