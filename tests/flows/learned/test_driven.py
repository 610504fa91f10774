"""Prefect drives: what a task's body does not do is not done; and a kept result stands only for rows that are there."""

from __future__ import annotations

import asyncio
import functools

import pytest
from prefect import flow
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from sqlalchemy import delete

from flows.evolve_router import evolve_router
from flows.refresh_labels import refresh_labels
from models.errors import PermanentError
from models.grading.grade import version
from models.ledger.labels import missing
from models.ledger.tables import attempts, generations
from tasks.attempt import measure_batch
from tasks.candidate import score_candidate
from tasks.setup.preset import load_preset
from tasks.setup.questions import load_set, wanted_cells
from tasks.setup.runner import result_of
from tasks.setup.session import open_session
from tasks.setup.settings import HOUSE, open_ledger


@pytest.mark.usefixtures("prefect_server")
def test_without_the_body_of_its_task_nothing_is_asked_for_labels(paid, monkeypatch):
    @functools.wraps(measure_batch.fn)  # whose parameters name the run
    async def nothing(*_, **__):
        return 0

    monkeypatch.setattr(measure_batch, "fn", nothing)
    assert asyncio.run(refresh_labels()) == 70 * 6
    assert not paid.asked()


@pytest.mark.usefixtures("copied_home")
def test_without_the_body_of_its_task_no_candidate_is_rolled_out(monkeypatch, tmp_path, small_data):
    class Reached(PermanentError):
        pass

    @functools.wraps(score_candidate.fn)
    async def nothing(*given, **_):
        scored.append(given)
        raise Reached

    counter, scored = tmp_path / "asked.jsonl", []
    monkeypatch.setenv("FUGU_DATA", str(small_data))
    monkeypatch.setenv("FUGU_HOUSE_COUNTER", str(counter))
    ledger = open_ledger()
    with ledger.transaction() as connection:
        connection.execute(delete(generations))
    ledger.close()
    monkeypatch.setattr(score_candidate, "fn", nothing)
    nothing_kept = temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "results"})
    with nothing_kept, pytest.raises(Reached):
        asyncio.run(evolve_router())
    assert len(scored) == 4 and not counter.exists()


@pytest.mark.usefixtures("prefect_server")
def test_a_kept_batch_asks_nothing_and_one_whose_rows_are_lost_runs_again(home, paid):
    ran, body = [], measure_batch.fn

    @flow
    async def twice():
        async with open_session("house", 0.0) as session:
            questions_of = load_set(HOUSE, load_preset("first-light").questions, session.ledger)
            cells = missing(session.ledger, **wanted_cells(session.ledger, session.pool, questions_of, 1))[:5]
            questions = [q for q in questions_of.questions if q.id in {cell.question_id for cell in cells}]
            versions = {question.id: version(question.grader) for question in questions}
            asked = questions_of.registered(questions)

            async def measured():
                await result_of(measure_batch, session.access, "w", cells, asked, versions, count=5, first="f")
                return len(ran)

            told = [await measured(), await measured()]
            with session.ledger.transaction() as connection:
                connection.execute(delete(attempts))
            return [*told, await measured(), await measured()]

    @functools.wraps(body)
    async def noted(*given, **named):
        ran.append(given)
        return await body(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure_batch, "fn", noted)
        assert asyncio.run(twice()) == [1, 1, 2, 2]
    assert len(paid.asked()) == 5  # the replies were settled
