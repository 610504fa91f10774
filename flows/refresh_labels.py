"""Measure every (question, worker, repeat) without a label, or with a label older than `max_age_days`.

Every worker answers every question R times and is graded; the mean over the repeats is the label. There is one subflow
per worker and one task per batch. The ledger records each attempt, so a run that was killed is started again and
repeats only what is missing. With `sentinels` each worker is asked some questions again, those with the oldest labels:
one that has become worse under its name raises an alarm, on which Prefect measures it anew.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from typing import Any

from pandas import DataFrame
from prefect import get_run_logger
from prefect.events import emit_event
from pydantic import Field

from models.errors import BadInput, BudgetExceeded
from models.evaluation.telling import most_telling
from models.grading.grade import version
from models.grading.question import Question
from models.ledger import labels
from models.ledger.epochs import put_workers
from models.ledger.labels import Cell
from models.workers.pool import Pool
from tasks import parameters
from tasks.attempt import BATCH, measure_batch
from tasks.pages.drift import drift_page
from tasks.pages.report import Progress, publish, table
from tasks.quiet import Live, flow
from tasks.setup.preset import PresetName, load_preset
from tasks.setup.process import leave_out_of_collections
from tasks.setup.questions import QuestionSet, can_be_asked, load_set, wanted_cells
from tasks.setup.runner import result_of
from tasks.setup.session import Access, Session, all_ended, current, is_within, open_session
from tasks.setup.settings import HOUSE, NONE

MEASURED = "fugu.labels.measured"
"""The event after a refresh that measured something, by itself: a router is learned from it (`prefect.yaml`)."""

WATCH = timedelta(hours=12)
"""A refresh with sentinels that is started again within this time goes on with the same ones."""

SPARE_BATCHES = 2
"""Batches of one worker at a time beyond those whose calls it takes at once (the dispatcher holds them to its limit):
one is graded and recorded while another waits for its turn. There are no more, to bound memory."""


@dataclass(frozen=True)
class Refresh:
    """What the subflows of one refresh share."""

    access: Access
    questions: QuestionSet
    progress: Progress

    @cached_property
    def by_id(self) -> dict[str, Question]:
        """The questions by id."""
        return {question.id: question for question in self.questions.questions}


@flow(name="refresh-labels", flow_run_name="refresh labels of {pool}")
async def refresh_labels(
    pool: str = Field(HOUSE, description=parameters.POOL),
    questions: str = Field(HOUSE, description=parameters.QUESTION_SET),
    preset: PresetName = Field("first-light", description=parameters.PRESET),
    max_age_days: float | None = Field(None, gt=0, description="repeat labels older than this; empty: never"),
    sentinels: int = Field(
        0, ge=0, description="ask each worker so many questions again, to see whether it has changed"
    ),
    again: str = Field("", description="name of a worker that is measured anew on everything; empty: none"),
    max_usd: float = Field(0.0, ge=0, description=parameters.MAX_USD),
) -> int:
    """Measure the missing labels of a pool on a question set; returns the number of attempts.

    The attempts that tell most come first. Without questions, and by itself where the money is spent, it ends well: its
    page `labels-left` says what was left.
    """
    if questions == NONE:
        await _left("Nothing was measured: there are no questions. `fugu up --questions FILE` names some.")
        return 0
    plan, alone = load_preset(preset), not is_within()
    async with open_session(pool, max_usd) as session:
        questions_of = load_set(questions, plan.questions, session.ledger)
        # Before anything is paid: check keys, model names and, if code is graded, the sandbox.
        await asyncio.to_thread(can_be_asked, session.pool, questions_of)
        leave_out_of_collections()
        put_workers(
            session.ledger,
            [{"name": w.name, "revision": w.revision, "recorded": w.is_recorded} for w in session.pool.workers],
        )
        max_age = None if max_age_days is None else timedelta(days=max_age_days)
        every = WATCH if sentinels or again else None
        wanted = await asyncio.to_thread(
            wanted_cells, session.ledger, session.pool, questions_of, plan.repeats, max_age, every
        )
        cells = labels.missing(session.ledger, **wanted)
        watched = _watched(session, wanted, sentinels, again)
        known = labels.labels(session.ledger, pool=session.pool.name, questions=wanted["questions"])
        cells = await asyncio.to_thread(most_telling, list(dict.fromkeys([*cells, *watched])), known, watched)
        get_run_logger().info("%d attempts are missing", len(cells))
        if alone and max_usd == 0:
            cells = await _free(cells, session.pool)
        refresh = Refresh(session.access, questions_of, await Progress.start("labelling", len(cells)))
        try:
            await all_ended(
                *(label_worker(w, len(mine), Live(mine), Live(refresh)) for w, mine in _by_worker(cells).items())
            )
        except BudgetExceeded as error:
            if not alone:
                raise
            await _spent(error, len(labels.missing(session.ledger, **wanted)))
            return refresh.progress.done
        finally:
            await _coverage(labels.coverage(session.ledger, **wanted), len(cells))
        await drift_page(labels.repeated(session.ledger, pool=session.pool.name, workers=wanted["workers"]))
        if alone and cells:
            emit_event(MEASURED, {"prefect.resource.id": f"fugu.pool.{session.pool.name}"})
    return len(cells)


def _watched(session: Session, wanted: Mapping[str, Any], sentinels: int, again: str) -> list[Cell]:
    """The cells that are measured again in this epoch. Raises BadInput for an unknown worker."""
    if again and again not in wanted["workers"]:
        raise BadInput(f"pool {session.pool.name!r} has no worker {again!r} that can be measured", "again")
    known = {"pool": session.pool.name, **{name: wanted[name] for name in ("epoch", "questions", "repeats")}}
    of = partial(labels.sentinels, session.ledger, **known)
    whole = {name: revision for name, revision in wanted["workers"].items() if name == again}
    return [*of(workers=wanted["workers"], count=sentinels), *of(workers=whole, count=len(wanted["questions"]))]


async def _coverage(frame: DataFrame, attempts: int) -> None:
    """The page of each worker's labels."""
    rows = [{str(k): v for k, v in row.items()} for row in frame.round(3).to_dict("records")]
    missing = int(frame["missing"].sum())
    then = (
        "Start it again, or look at the failed tasks of its subflows: what is settled is not asked again."
        if missing
        else "`warm-start/learn-router` learns a router from the labels."
    )
    happened = (
        f"{attempts:,} attempts were to be made, and {missing:,} of {int(frame['wanted'].sum()):,} are missing now."
    )
    await table("label-coverage", rows, f"{happened} {then}")


async def _free(cells: list[Cell], pool: Pool) -> list[Cell]:
    """The cells that cost nothing. The page says which others a limit of 0 leaves: as part of another run, which needs
    them, they are asked for all the same, and refused."""
    free = [cell for cell in cells if pool.worker(cell.worker).worst_usd(1) == 0]
    left = Counter(cell.worker for cell in cells if pool.worker(cell.worker).worst_usd(1) > 0)
    if left:
        each = ", ".join(f"{worker} {count:,}" for worker, count in left.items())
        await _left(
            f"{left.total():,} attempts were left, because `max_usd` is 0 and these workers have a price: {each}. "
            "`fugu measure --max-usd USD` measures them once; with the parameter `max_usd` this run measures them "
            "whenever it is due."
        )
    return free


async def _spent(error: BudgetExceeded, left: int) -> None:
    await _left(
        f"The money is spent: {error}. {left:,} attempts were left, those that tell least: questions on which the "
        "workers agree, and old labels. Start it again, with more money or when it is due: what was measured is kept."
    )


async def _left(text: str) -> None:
    get_run_logger().warning("%s", text)
    await publish("labels-left", text)


def _by_worker(cells: list[Cell]) -> dict[str, list[Cell]]:
    missing: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        missing[cell.worker].append(cell)
    return missing


@flow(name="label-worker", flow_run_name="label {worker}: {attempts} attempts")
async def label_worker(worker: str, attempts: int, missing: Live[list[Cell]], shared: Live[Refresh]) -> None:
    """Measure one worker's missing attempts, in batches."""
    cells, refresh = missing.value, shared.value
    at_once = current().pool.worker(worker).limits.concurrency
    turn = asyncio.Semaphore(math.ceil(at_once / BATCH) + SPARE_BATCHES)

    async def run(batch: Sequence[Cell]) -> None:
        questions = [refresh.by_id[id] for id in {cell.question_id: None for cell in batch}]
        asked = refresh.questions.registered(questions)
        versions = {question.id: version(question.grader) for question in questions}
        label = {"count": len(batch), "first": batch[0].question_id}
        async with turn:
            await result_of(measure_batch, refresh.access, worker, batch, asked, versions, **label)
        await refresh.progress.add(len(batch))

    await all_ended(*(run(cells[i : i + BATCH]) for i in range(0, attempts, BATCH)))
