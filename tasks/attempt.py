"""The task that measures a batch of attempts: at most `BATCH` (question, worker, repeat) cells of one worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

from prefect.context import TaskRunContext

from models.digest import json_digest
from models.evaluation.measure import measure
from models.ledger.labels import Cell, are_attempted
from models.ledger.store import Ledger
from tasks.caching import PAID, REVISION, unless_lost
from tasks.quiet import task
from tasks.setup.process import on_loop
from tasks.setup.questions import Registered
from tasks.setup.session import Access, read_ledger, session_of

BATCH = 50
"""A task costs 5 to 12 ms, as much as one house attempt; a larger batch would only make the progress coarser."""


def _key(context: TaskRunContext, parameters: dict[str, Any]) -> tuple[str, bool]:
    """The batch's meaning, and whether the ledger has all of its attempts."""
    cells, asked, versions = parameters["cells"], parameters["asked"], parameters["versions"]

    def read(ledger: Ledger) -> tuple[str, bool]:
        meaning = [ledger.name, [astuple(cell) for cell in cells], asked.source, asked.digests, versions]
        return json_digest([context.task.name, REVISION, meaning]), are_attempted(ledger, cells, versions)

    return read_ledger(parameters["access"], read)


@task(task_run_name="{worker}: {count} attempts from {first}", cache_key_fn=unless_lost(_key), **PAID)
async def measure_batch(
    access: Access,
    worker: str,
    cells: Sequence[Cell],
    asked: Registered,
    versions: Mapping[str, str],
    count: int,
    first: str,
) -> int:
    """Ask, grade and record. A batch that runs again repeats only what is not settled.

    `versions`: of the questions' graders, by question id.
    """
    return await on_loop(_measure(access, cells, asked))


async def _measure(access: Access, cells: Sequence[Cell], asked: Registered) -> int:
    with session_of(access) as session:
        questions = asked.load(session.ledger)
        return await measure(cells, questions, ledger=session.ledger, dispatcher=session.dispatcher)
