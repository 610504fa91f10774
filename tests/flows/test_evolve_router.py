"""What an evolution's page says it paid is all that the flow run paid, from its first question on."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from flows import evolve_router


@pytest.fixture
def run():
    objective = SimpleNamespace(scope="measure:1")
    scoring = SimpleNamespace(objective=objective)
    return SimpleNamespace(
        name="x",
        session=SimpleNamespace(ledger=None),
        plan=SimpleNamespace(generations=1),
        training=scoring,
        validation=scoring,
    )


async def test_the_search_and_the_starts_validation_are_paid_too(run, monkeypatch):
    settled = 7  # by earlier flow runs
    opened = {}

    async def paid(session, objectives):
        return {"settled": settled, "usd": 0.0}

    async def search(*_):
        nonlocal settled
        settled += 100
        told = {"generation": 1, "generations": 1, "stage": "", "dimension": 1, "population_size": 1}
        return SimpleNamespace(**told)

    async def reward(*_):
        nonlocal settled
        settled += 10
        return 0.5

    async def page(*given):
        opened["before"] = given[-1]

    monkeypatch.setattr(evolve_router, "paid", paid)
    monkeypatch.setattr(evolve_router, "_search", search)
    monkeypatch.setattr(evolve_router, "_reward", reward)
    monkeypatch.setattr(evolve_router.EvolutionPage, "open", page)
    monkeypatch.setattr(evolve_router.runs, "generations", lambda *_: [])
    monkeypatch.setattr(evolve_router, "get_run_logger", lambda: SimpleNamespace(info=lambda *_: None))
    start = np.zeros(3, np.float32)
    assert await evolve_router._evolve(run, start) is start
    assert opened["before"]["settled"] == 7
