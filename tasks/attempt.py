"""The task that measures a batch of attempts: at most `BATCH` (question, worker, repeat) cells of one worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from prefect.cache_policies import NO_CACHE

from models.evaluation.measure import measure
from models.grading.question import Question
from models.ledger.labels import Cell
from tasks.caching import RETRIED
from tasks.pages.report import Progress
from tasks.quiet import task
from tasks.setup.process import on_loop
from tasks.setup.session import current

BATCH = 50
"""A task costs 5 to 12 ms, as much as one house attempt; a larger batch would only make the progress coarser."""


@dataclass(frozen=True)
class Measuring:
    """One refresh of labels: its questions by id, each worker's missing cells, and the progress."""

    questions: Mapping[str, Question]
    missing: Mapping[str, Sequence[Cell]]
    progress: Progress


MEASURING: ContextVar[Measuring] = ContextVar("measuring")


@task(task_run_name="{worker}: {count} attempts from {first}", cache_policy=NO_CACHE, **RETRIED)
async def measure_batch(worker: str, attempts: Sequence[dict[str, Any]], count: int, first: str) -> int:
    """Ask, grade and record. The ledger is the cache: a batch that runs again repeats only unsettled attempts."""
    session, refresh = current(), MEASURING.get()
    cells = [Cell(**attempt) for attempt in attempts]
    return await on_loop(measure(cells, refresh.questions, ledger=session.ledger, dispatcher=session.dispatcher))
