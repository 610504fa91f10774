"""Recorded scores go through warm start and comparison; what needs live workers says so before anything is begun."""

from __future__ import annotations

import asyncio
import json
from random import Random
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import flows.compare_pool
from flows.compare_pool import compare_pool
from flows.evolve_router import evolve_router
from flows.refresh_labels import refresh_labels
from flows.warm_start import warm_start
from models.errors import BadInput, RecordedWorker
from models.evaluation.baselines import Part
from models.evaluation.perturbations import KINDS, SUFFIX, TYPO, perturbed
from models.fugu.router import Router
from models.fugu.transcript import text
from models.ledger import registry
from models.ledger.labels import labels
from tasks.comparing.routers import calibration_of
from tasks.setup.preset import load_preset
from tasks.setup.questions import load_set
from tasks.setup.router import load_router
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


def test_the_report_is_a_page_of_its_own_and_files_for_pandas(recorded, home):
    where, _ = recorded
    asyncio.run(warm_start(**where))
    asyncio.run(compare_pool(**where))
    reports = home / "reports"
    found = json.loads((reports / "comparison.json").read_text())
    [group] = found["groups"].values()
    expected = {row["router"]: row for row in found["calibration"]}
    assert expected.keys() == {"fugu (warm start)", "fugu (by task)"}
    assert all(row["n"] == group[0]["n"] and row["measured"] > 0.9 for row in expected.values())
    # The mean of a task is drawn to the overall one by ten questions' worth, so that it expects less than it gets.
    assert 0.8 < expected["fugu (by task)"]["predicted"] < 1
    flips = pd.DataFrame(found["flips"])
    assert set(flips["perturbation"]) == set(KINDS) and flips["flip_rate"].between(0, 1).all()
    assert {row["router"] for row in found["latency"]} == expected.keys()
    assert found["notes"][0].startswith("0 of ") and "12 %" in found["notes"][1]
    flat = pd.read_csv(reports / "comparison.csv")
    assert set(flat["name"]) == {row["name"] for row in group} and {"recall", "entropy", "regret"} <= set(flat)
    page = (reports / "comparison.html").read_text()
    assert found["verdict"] in page and page.index("<svg") < page.index("<table") and "<img" not in page
    for title in ("Calibration", "Choices on questions that mean the same", "Latency of one decision", "The gate"):
        assert f"<h2>{title}" in page and f"## {title}" in (reports / "comparison.md").read_text()


class Counting:
    """A router that looks at nothing but how many letters it reads: an even number is for the first worker."""

    def __init__(self, router: Router, sees: bool) -> None:
        self.router, self.sees = router, sees

    def __getattr__(self, name: str):
        return getattr(self.router, name)

    def logits(self, texts):
        odd = [self.sees and letters(text) % 2 for text in texts]
        return np.array([[-1.0, 0.0] if each else [0.0, -1.0] for each in odd], np.float32)


def letters(text: str) -> int:
    return sum(map(str.isalpha, text))


@pytest.mark.parametrize("sees", [False, True])
def test_a_router_flips_where_what_it_looks_at_changes_and_nowhere_else(recorded, home, monkeypatch, sees):
    where, ledger = recorded
    asyncio.run(warm_start(**where))
    monkeypatch.setattr(flows.compare_pool, "load_router", lambda checkpoint: Counting(load_router(checkpoint), sees))
    asyncio.run(compare_pool(**where))
    found = json.loads((home / "reports" / "comparison.json").read_text())["flips"]
    tested = load_set(where["questions"], load_preset("first-light").questions, ledger).split("test")
    for row in found:
        forms = [(q.messages, perturbed(q.messages, row["perturbation"])) for q in tested]
        changed = [letters(text(before)) % 2 != letters(text(after)) % 2 for before, after in forms]
        assert row["n"] == len(tested) and row["flip_rate"] == pytest.approx(np.mean(changed) if sees else 0)
        assert sees or row["loss"] == row["flip_rate_high"] == 0
    rates = {row["perturbation"]: row["flip_rate"] for row in found}
    assert rates[TYPO] == 0  # letters change places, and are as many
    assert (0 < rates[SUFFIX] < 1) == sees


def test_a_router_that_was_evolved_or_does_not_say_how_expects_no_score():
    part = Part(np.eye(2), np.zeros((2, 1)), np.array(["t", "t"]), np.zeros((2, 2)))
    logits = np.array([[2.0, 0.0], [0.0, 4.0]], np.float32)

    def of(**meta):
        return calibration_of(SimpleNamespace(meta=meta), logits, part, level=0.5)

    assert of(kind="evolved", temperature=0.1) is None and of(kind="warm") is None
    assert of(kind="warm", temperature=0.1).predicted == pytest.approx(0.65)  # 0.5 and half of the difference
    assert of(kind="tasks", head={}).predicted == pytest.approx(0.3)


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
