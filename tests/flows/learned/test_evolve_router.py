"""Evolution as a flow: who cannot be rolled out ranks last, what is shown is comparable and paid, and a run that is
left unfinished is named and can be gone on with."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from prefect import flow

from flows import evolve_router as evolving
from flows.evolve_router import evolve_router, generation
from models.errors import BadInput, NotFound, PermanentError
from models.fugu.learn.fitness import RolloutScore, Weights
from models.ledger import epochs, registry, runs
from tasks import candidate
from tasks.pages.evolution import KEY
from tasks.quiet import Live
from tasks.setup.preset import load_preset
from tasks.setup.questions import load_set
from tasks.setup.scoring import Part, Scoring
from tasks.setup.settings import HOUSE, open_ledger, settings


class Rolled:
    """Each slot's reward is the vector's number; one below 0 cannot be rolled out."""

    slots = (None,) * 8
    pool = SimpleNamespace(workers=(None, None))
    options = SimpleNamespace(turns=5)

    async def scores(self, vector, *, temperature, part=slice(None)):
        if vector[0] < 0:
            raise BadInput("the scaled singular values sum to -8.426, which is not positive", "vector")
        return [RolloutScore(float(vector[0]), (0,)) for _ in self.slots[part]]


@pytest.mark.usefixtures("prefect_server", "home")
@pytest.mark.parametrize("rungs", [1, 3])
async def test_a_generation_goes_on_without_those_that_cannot_be_rolled_out(rungs, monkeypatch):
    numbers = [0.3, -1.0, 0.9, 0.0, 0.6, 0.5, -1.0, 0.2]

    @flow
    async def evolve():
        scoring = Scoring(Rolled(), Weights(), 1.0, rungs, f"rolled in {rungs} rungs", asyncio.Semaphore(2))
        monkeypatch.setattr(candidate, "scoring_of", lambda recipe: scoring)
        population = np.array(numbers, np.float32)[:, None]
        return [await generation("x", 1, Live(Part(None, scoring)), Live(population)) for _ in range(2)]

    scored, again = await evolve()
    assert json.loads(json.dumps(scored.fitnesses)) == again.fitnesses == scored.fitnesses
    ranked = np.argsort(scored.fitnesses, kind="stable")
    assert set(ranked[:2]) == {1, 6} and ranked[-1] == 2
    whole = {1: [0.0, 0.2, 0.3, 0.5, 0.6, 0.9], 3: [0.6, 0.9]}[rungs]
    assert sorted(scored.whole) == pytest.approx(whole)
    assert scored.total.rollouts == {1: 6 * 8, 3: 6 * 2 + 3 * 2 + 2 * 4}[rungs]


async def test_a_parent_that_cannot_be_rolled_out_is_not_kept(monkeypatch):
    async def result_of(*_):
        return []

    monkeypatch.setattr(evolving, "result_of", result_of)
    part = Part(None, SimpleNamespace(objective=Rolled()))
    assert (await evolving._judged("parent 1", part, np.full(1, -1.0))).mean_reward == 0.0


@pytest.fixture
def asked(copied_home, monkeypatch, tmp_path):
    """A copy of a home that has a warm start is this test's; `asked()`: how many calls its workers have had."""
    counter = tmp_path / "asked.jsonl"
    monkeypatch.setenv("FUGU_HOUSE_COUNTER", str(counter))
    monkeypatch.setenv("PREFECT_LOCAL_STORAGE_PATH", str(copied_home / "results"))
    return lambda: len(counter.read_text().splitlines()) if counter.exists() else 0


@pytest.fixture
def plan(small_data, data_with, monkeypatch):
    """`(**evolution)`: from now on the small preset evolves otherwise in these."""
    small = yaml.safe_load((small_data / "presets.yaml").read_text())["first-light"]

    def use(**evolution):
        monkeypatch.setenv("FUGU_DATA", str(data_with(small | {"evolution": small["evolution"] | evolution})))

    return use


def told(run):
    ledger = open_ledger()
    rows = runs.generations(ledger, run)
    ledger.close()
    return rows


def test_a_search_that_steps_too_far_goes_on_and_its_page_counts_what_it_paid(asked, plan):
    few = {"population": 8, "subspace_generations": 0, "rungs": 1, "questions": 5, "validation": 5, "sigma": 4.0}
    plan(**few, generations=1)
    ledger = open_ledger()
    run = registry.load_checkpoint(ledger, asyncio.run(evolve_router())).meta["run"]
    ledger.close()
    first = told(run)
    refused, rest = divmod(8 * 5 - first[0]["rollouts"], 5)
    assert refused > 0 and rest == 0
    lowest = sorted(first[0]["fitnesses"])[:refused]
    assert max(lowest) < first[0]["mean"] and len(set(lowest)) == 1
    page = (settings().home / "reports" / f"{KEY}.md").read_text()
    assert asked() > 0 and f" {asked():,} calls paid" in page
    plan(**few, generations=2)
    asyncio.run(evolve_router())  # the log of the first leads to the population of the second
    assert len(told(run)) == 2 and told(run)[:1] == first


def test_an_unfinished_run_that_is_not_continued_is_named_and_can_be_resumed(asked, plan, monkeypatch):
    few = {"population": 4, "generations": 2, "questions": 4, "validation": 4}
    plan(**few)
    warned, add = [], evolving.EvolutionPage.add

    async def killed(page, row, show=True):
        raise PermanentError("killed")

    class Log:
        def info(self, *_):
            pass

        def warning(self, text, *values):
            warned.append(text % values)

    monkeypatch.setattr(evolving, "get_run_logger", Log)
    monkeypatch.setattr(evolving.EvolutionPage, "add", killed)
    with pytest.raises(PermanentError, match="killed"):
        asyncio.run(evolve_router())
    monkeypatch.setattr(evolving.EvolutionPage, "add", add)
    assert not warned

    ledger = open_ledger()
    name = registry.newest_checkpoint(ledger, kind="begun", pool="house").meta["run"]
    series = load_set(HOUSE, load_preset("first-light").questions, ledger).name
    now = epochs.next_epoch(ledger, "house", series, timedelta(0))
    other = registry.load_checkpoint(ledger, asyncio.run(evolve_router())).meta["run"]
    assert other != name and len(warned) == 1
    assert f"run {name} is unfinished (1 of 2" in warned[0] and f"resume={name}" in warned[0]
    assert registry.newest_checkpoint(ledger, kind="begun", run=other).meta["epoch"] == now

    before = told(name)
    assert registry.load_checkpoint(ledger, asyncio.run(evolve_router(resume=name))).meta["run"] == name
    assert told(name)[:1] == before and len(told(name)) == 2
    assert len(warned) == 1  # both are finished
    with pytest.raises(NotFound, match="nobody"):
        asyncio.run(evolve_router(resume="nobody"))
    plan(**few | {"population": 5})
    with pytest.raises(BadInput, match="started with other"):
        asyncio.run(evolve_router(resume=name))
    ledger.close()
