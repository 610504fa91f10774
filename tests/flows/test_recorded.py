"""Recorded scores go through warm start and comparison; what needs live workers says so before anything is begun."""

from __future__ import annotations

import asyncio
import json
from random import Random

import pytest

from flows.compare_pool import compare_pool
from flows.evolve_router import evolve_router
from flows.refresh_labels import refresh_labels
from flows.warm_start import warm_start
from models.errors import BadInput, RecordedWorker
from models.ledger import registry
from models.ledger.labels import labels
from tasks.setup.preset import load_preset
from tasks.setup.scores import import_scores
from tasks.setup.settings import open_ledger


@pytest.fixture
def recorded(home, tmp_path, prefect_server):
    """Two workers, each good at one kind of question, imported into the home's ledger."""
    luck, rows = Random(0), []
    for i in range(120):
        sums = luck.random() < 0.5
        text = f"What is {i} + {luck.randint(1, 99)}?" if sums else f"Say the opposite of the word number {i}."
        scores = {"adder": float(sums), "speaker": float(not sums)}
        row = {"id": f"q{i}", "task": "sums" if sums else "words", "question": text, "scores": scores}
        rows.append(row | {"costs": {"adder": 1e-4, "speaker": 1e-3}})
    file = tmp_path / "scores.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ledger = open_ledger()
    found = import_scores(file, "scores", ledger)
    yield {"pool": found.pool, "questions": str(found.questions)}, ledger
    ledger.close()


def test_recorded_scores_are_learned_from_and_compared_with_every_rival(recorded, home):
    where, ledger = recorded
    checkpoint = asyncio.run(warm_start(**where))
    learned = registry.load_checkpoint(ledger, checkpoint).meta["cost"]
    assert learned["usd"] == pytest.approx([1e-4, 1e-3]) and learned["per_usd"][-1] > learned["per_usd"][0] == 0
    assert learned["points"] == load_preset("first-light").operating_points
    lines = asyncio.run(compare_pool(**where))
    assert lines.keys() == {"fugu"}
    report = (home / "reports" / "comparison.md").read_text()
    for name in ("adder", "speaker", "best single", "random", "kNN", "oracle", "fugu (warm start)", "fugu (by task)"):
        assert f"| {name} |" in report
    assert "trinity" not in report
    assert "What the knob between quality and cost is worth" in report and "over mixing workers blindly" in report
    assert (home / "reports" / "comparison-cost.svg").stat().st_size > 1000


def test_questions_that_a_worker_did_not_see_are_left_out(home, tmp_path, prefect_server, caplog):
    rows = [
        {
            "id": f"q{i}",
            "task": "t",
            "question": f"{i}?",
            "scores": {"a": i % 2, "b": None if i % 3 == 0 else 1 - i % 2},
        }
        for i in range(60)
    ]
    file = tmp_path / "holes.jsonl"
    file.write_text(
        "".join(json.dumps(row | {"split": "test" if row["id"] > "q5" else "train"}) + "\n" for row in rows)
    )
    ledger = open_ledger()
    found = import_scores(file, "holes", ledger)
    where = {"pool": found.pool, "questions": str(found.questions)}
    with caplog.at_level("INFO"):
        asyncio.run(warm_start(**where, layout="head"))
        asyncio.run(compare_pool(**where))
    ledger.close()
    assert caplog.text.count("20 of 60 questions are left out: not all 2 workers saw them") >= 2
    held_out = sum(row["id"] > "q5" and row["scores"]["b"] is not None for row in rows)
    assert f"On {held_out} held-out questions" in (home / "reports" / "comparison.md").read_text()


def test_what_needs_live_workers_says_so(recorded):
    where, ledger = recorded
    with pytest.raises(RecordedWorker, match="cannot be rolled out"):
        asyncio.run(evolve_router(**where))
    with pytest.raises(RecordedWorker, match="no model can be served on it"):
        asyncio.run(compare_pool(**where, promote=True))
    assert registry.champion(ledger, "fugu") is None


def test_a_model_that_nobody_knows_is_no_score_of_zero(home, tmp_path, prefect_server):
    file = tmp_path / "pool.yaml"
    file.write_text("workers:\n- {name: calc, model: house/calc}\n- {name: odd, model: calcc, price: {}}\n")
    with pytest.raises(BadInput, match="'odd'"):
        asyncio.run(refresh_labels(str(file)))
    ledger = open_ledger()
    assert labels(ledger, pool="pool").empty
    ledger.close()
