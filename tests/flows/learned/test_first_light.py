"""The whole story runs: labels, two stages of learning, a comparison, champions; and a second time asks nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

import flows.first_light
from flows.compare_pool import compare_pool
from flows.first_light import first_light
from models.errors import PermanentError
from models.evaluation.groups import SEEN
from models.evaluation.perturbations import KINDS
from models.ledger import registry
from models.ledger.labels import labels
from tasks.comparing.judged import kept
from tasks.setup.checkpoint import seat
from tasks.setup.router import load_router
from tasks.setup.settings import load_pool, open_ledger


async def test_the_layout_reaches_the_warm_start(monkeypatch):
    asked = []

    async def warm_start(*given, **_):
        asked.append(given)
        raise PermanentError("killed")

    async def nothing(*_, **__):
        pass

    @asynccontextmanager
    async def session(*_):
        yield SimpleNamespace(ledger=None)

    questions = SimpleNamespace(require=lambda *_: None)
    parts = {"refresh_labels": nothing, "prepare_backbone": nothing, "warm_start": warm_start, "open_session": session}
    for name, part in {**parts, "load_set": lambda *_: questions}.items():
        monkeypatch.setattr(flows.first_light, name, part)
    for layout in ("released", ""):
        with pytest.raises(PermanentError, match="killed"):
            await first_light.fn(preset="first-light", backbone="b", layout=layout, max_usd=0.0)
    assert [given[3:] for given in asked] == [("b", "released"), ("b", "")]


@pytest.fixture
def finished(first_light_home, small_data, monkeypatch):
    """The finished home as this test's home."""
    home, lines, counter, ledger = first_light_home
    monkeypatch.setenv("FUGU_HOME", str(home))
    monkeypatch.setenv("FUGU_LEDGER_URL", ledger)
    monkeypatch.setenv("FUGU_DATA", str(small_data))
    monkeypatch.setenv("FUGU_HOUSE_COUNTER", str(counter))
    monkeypatch.setenv("PREFECT_LOCAL_STORAGE_PATH", str(home / "results"))
    return home, lines, counter


def test_every_cell_is_labelled_and_both_models_have_a_champion(finished):
    ledger = open_ledger()
    frame = labels(ledger, pool="house")
    assert len(frame) == 70 * 6
    assert frame["score"].between(0, 1).all()
    for model in ("fugu", "trinity"):
        assert registry.champion(ledger, model) is not None
    ledger.close()


def test_the_report_holds_every_rival_and_says_who_serves(finished):
    home, lines, _ = finished
    report = (home / "reports" / "comparison.md").read_text()
    rivals = [
        "calc",
        "sage",
        "best single",
        "random",
        "task table (predicted)",
        "task table (true task)",
        "kNN",
        "oracle",
    ]
    routers = [f"{model} ({name})" for model in ("fugu", "trinity") for name in ("warm start", "evolved")]
    for name in rivals + routers:
        assert f"| {name} |" in report
    for line in lines.values():
        assert line in report
    ledger = open_ledger()
    learned = [registry.newest_checkpoint(ledger, kind=kind, pool="house") for kind in ("warm", "evolved", "tasks")]
    ledger.close()
    judged = [each for checkpoint in learned for each in kept(checkpoint.id).values()]
    assert judged  # what the gate saw goes with a router into its package
    for each in judged:
        assert each.line in report and {row["name"] for row in each.tables[SEEN]} > set(routers)
        assert [bound.rival for bound in each.bounds][1:4] == ["best single", "kNN", "task table (predicted)"]
    assert (home / "reports" / "evolution.svg").stat().st_size > 1000


def test_a_second_run_asks_no_worker_and_changes_no_champion(finished):
    _, lines, counter = finished
    before = counter.read_bytes()
    ledger = open_ledger()
    served = {model: registry.champion(ledger, model).target for model in ("fugu", "trinity")}
    again = asyncio.run(first_light())
    assert counter.read_bytes() == before
    assert {model: registry.champion(ledger, model).target for model in served} == served
    assert again.keys() == lines.keys()
    ledger.close()


def test_a_champion_over_another_order_of_the_pool_stays_and_is_compared_by_its_names(
    copied_home, small_data, monkeypatch
):
    monkeypatch.setenv("FUGU_DATA", str(small_data))
    ledger, pool = open_ledger(), load_pool("house")
    learned = registry.newest_checkpoint(ledger, kind="warm", pool="house")
    order = [3, 5, 0, 4, 1, 2]
    width = load_router(learned).backbone.width
    vector = learned.vector.copy()
    rows = vector[-9 * width :].reshape(9, width)
    rows[:6] = rows[order]
    meta = {**learned.meta, "workers": [pool.names[i] for i in order], "kind": "adopted"}
    other = registry.save_checkpoint(ledger, name="other order", vector=vector, meta=meta)
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "router", "checkpoint": other}, "adopted")
    assert seat(ledger, pool) is None
    lines = asyncio.run(compare_pool(promote=False))
    ledger.close()
    report = (copied_home / "reports" / "comparison.md").read_text()
    cells: dict[str, list[str]] = {}
    for line in report.splitlines():  # a time is never the same twice; what it expects is known of a warm start alone
        if line.startswith("| ") and " ms |" not in line and " → " not in line:
            name, rest = line.split(" | ", 1)
            cells.setdefault(name, []).append(rest)
    assert cells["| fugu (serving fugu)"] == cells["| fugu (warm start)"]
    assert len(cells["| fugu (warm start)"]) == 3 + len(KINDS)  # groups of questions, and perturbations
    assert cells["| trinity (serving fugu)"] == cells["| trinity (warm start)"]
    assert lines.keys() == {"fugu", "trinity"}
