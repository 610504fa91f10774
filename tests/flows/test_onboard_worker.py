"""A worker joins the router that serves: few labels, its own numbers alone, a gate that asks only where it counts."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import yaml

from flows.onboard_worker import onboard_worker
from flows.refresh_labels import refresh_labels
from flows.warm_start import warm_start
from models.errors import BadInput, NotFound
from models.evaluation.matrix import label_matrix
from models.evaluation.metrics import paired
from models.ledger import registry
from models.ledger.labels import labels
from tasks.setup.preset import load_preset
from tasks.setup.questions import load_set
from tasks.setup.router import first_texts, load_router
from tasks.setup.settings import PROJECT, open_ledger
from tests.flows.conftest import SMALL

NEW = "lingua"


@pytest.fixture(scope="module")
def club(tmp_path_factory, data_with, use_home, prefect_server):
    """A home whose router knows five house workers, with a pool file of these and one of six."""
    home, counts = tmp_path_factory.mktemp("club"), {"train": 200, "validation": 20, "test": 120, "unseen": 10}
    pools = {}
    whole = yaml.safe_load((PROJECT / "data" / "pools" / "house.yaml").read_text())
    for name, workers in (("five", [w for w in whole["workers"] if w["name"] != NEW]), ("six", whole["workers"])):
        workers = sorted(workers, key=lambda each: each["name"] == NEW)  # the newest last
        pools[name] = str(home / f"{name}.yaml")
        (home / f"{name}.yaml").write_text(yaml.safe_dump({"name": "club", "workers": workers}))
    with pytest.MonkeyPatch.context() as patch:
        use_home(home / "home", data_with(SMALL | {"questions": counts}), patch)
        asyncio.run(refresh_labels(pool=pools["five"]))
        warm = asyncio.run(warm_start(pool=pools["five"]))
        ledger = open_ledger()
        by_task = registry.newest_checkpoint(ledger, kind="tasks", pool="club").id
        yield ledger, pools, {"rows": warm, "tasks": by_task}
        ledger.close()


def serve(ledger, checkpoint):
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "router", "checkpoint": checkpoint}, "test")


@pytest.mark.parametrize("head", ["tasks", "rows"])
def test_it_is_measured_little_and_changes_nobody_elses_numbers(club, head):
    ledger, pools, routers = club
    serve(ledger, routers[head])
    joined = registry.load_checkpoint(ledger, asyncio.run(onboard_worker(worker=NEW, pool=pools["six"])))
    assert joined.meta["workers"][-1] == NEW and joined.meta["parent"] == routers[head]
    assert len(joined.meta["cost"]["usd"]) == 6
    frame = labels(ledger, pool="club", workers=[NEW])
    asked = load_set("house", load_preset("first-light").questions, ledger)
    held_out = asked.split("test", "unseen")
    assert (frame["split"] == "train").sum() == 40 and len(frame) <= 40 + len(held_out)
    before, after = load_router(registry.load_checkpoint(ledger, routers[head])), load_router(joined)
    texts = first_texts(held_out, before)
    old, new = before.logits(texts), after.logits(texts)
    assert np.allclose(np.delete(new, 5, axis=1), old, atol=1e-5)
    first, then = old[:, :5].argmax(axis=1), new[:, :6].argmax(axis=1)
    assert (first[then != 5] == then[then != 5]).all() and (then == 5).sum() == (frame["split"] != "train").sum()
    assert registry.champion(ledger, "trinity").target["checkpoint"] == routers[head]
    serves = registry.champion(ledger, "fugu").target["checkpoint"] == joined.id
    scores = label_matrix(labels(ledger, pool="club"), [q.id for q in held_out], after.workers, holes=True)
    gain = paired(np.array([row[new] - row[old] for row, new, old in zip(scores, then, first, strict=True)]))
    assert serves == (gain.low > 0)
    serve(ledger, joined.id)
    with pytest.raises(BadInput, match="knows the worker 'lingua' already"):
        asyncio.run(onboard_worker(worker=NEW, pool=pools["six"]))


def test_who_cannot_join_is_told_why_before_anything_is_asked(club):
    ledger, pools, routers = club
    registry.promote(ledger, "fugu", {"kind": "worker", "worker": "calc"}, "test")
    with pytest.raises(NotFound, match="there is none to join"):
        asyncio.run(onboard_worker(worker=NEW, pool=pools["six"]))
    serve(ledger, routers["rows"])
    with pytest.raises(BadInput, match="add it to the pool file first"):
        asyncio.run(onboard_worker(worker=NEW, pool=pools["five"]))
