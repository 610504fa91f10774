"""Rollouts on repositories as flows: each worker measured, and a router evolved on them beside its questions."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from deployments.agentic import agentic_rollouts, evolve_router
from models.errors import NotReady
from models.ledger import registry, runs
from tasks import coding as agents
from tasks.setup.settings import PROJECT, open_ledger

pytestmark = [pytest.mark.programs, pytest.mark.usefixtures("workshops")]


@pytest.fixture
def repositories(tmp_path):
    """Three of the shipped repositories: two to train on, one to validate."""
    folder = tmp_path / "tasks"
    for name in ("fines", "gazetteer", "fares"):
        shutil.copytree(PROJECT / "data" / "repositories" / name, folder / name)
    return str(folder)


@pytest.fixture
def finished(copied_home, small_data, monkeypatch, tmp_path):
    """A copy of a home that has a router; the scripted agent is the project's."""
    home = copied_home
    shutil.copy(PROJECT / "data" / "agents.yaml", home)
    monkeypatch.setenv("FUGU_DATA", str(small_data))
    monkeypatch.setenv("FUGU_HOUSE_COUNTER", str(tmp_path / "asked.jsonl"))
    monkeypatch.setenv("PREFECT_LOCAL_STORAGE_PATH", str(home / "results"))
    return home


def test_each_worker_and_the_router_get_their_reward(finished, repositories):
    shutil.rmtree(f"{repositories}/fares")
    found = asyncio.run(agentic_rollouts(repositories=repositories, checkpoint="warm"))
    assert found["coder"] == {"fines": 1, "gazetteer": 0} and found["atlas"] == {"fines": 0, "gazetteer": 1}
    assert found["calc"] == {"fines": 0, "gazetteer": 0}
    assert [name.split()[0] for name in found][-1] == "router"
    assert "| coder | 0.500 |" in (finished / "reports" / "agentic-rollouts.md").read_text()


def test_a_router_is_evolved_on_questions_and_repositories(finished, repositories):
    id = asyncio.run(evolve_router(agentic=repositories))
    ledger = open_ledger()
    meta = registry.load_checkpoint(ledger, id).meta
    assert meta["kind"] == "evolved"
    told = runs.generations(ledger, meta["run"])
    # The last rung of each generation holds the two repositories behind its 20 questions.
    assert [row["rollouts"] for row in told] == [4 * 11 + 2 * 11] * 2
    ledger.close()


def test_without_an_endpoint_at_hand_it_says_so(finished, repositories, monkeypatch):
    monkeypatch.setattr(agents, "_PROVIDED", [])
    with pytest.raises(NotReady, match="deployment"):
        asyncio.run(agentic_rollouts(repositories=repositories))
