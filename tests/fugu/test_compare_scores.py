"""`fugu compare-scores`: one command from a file of recorded scores to a verdict, without a server."""

from __future__ import annotations

import json
import os
import re
import sys
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from deployments.cli import main
from models.evaluation.perturbations import KINDS
from tasks.comparing.contenders import random_offers

TASKS = {"sums": ("What is {} + {}?", [0.9, 0.1]), "words": ("Spell the word number {}, then {}!", [0.1, 0.9])}


def rows(count: int, seed: int, learnable: bool = True) -> list[dict]:
    draws = np.random.default_rng(seed)
    found = []
    for index in range(count):
        task = list(TASKS)[index % 2]
        text, chance = TASKS[task]
        chance = chance if learnable else [0.6, 0.4]
        scores = dict(zip(("adder", "speller"), (draws.random(2) < chance).astype(float), strict=True))
        question = text.format(*draws.integers(10, 99, size=2))
        found.append({"id": f"{seed}-{index}", "task": task, "question": question, "scores": scores})
    return found


@pytest.fixture
def compare(backbones, tmp_path, capsys):
    """The command on a small causal model, in a home of its own."""

    def run(*words: str) -> tuple[int, str, str]:
        home = {"FUGU_HOME": str(tmp_path / "home"), "COLUMNS": "200"}
        argv = ["fugu", "compare-scores", *words, "--backbone", str(backbones("tied").folder)]
        with mock.patch.dict(os.environ, home), mock.patch.object(sys, "argv", argv), pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


def written(path, content: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return str(path)


def test_a_router_that_is_worth_it_is_said_to_be_with_every_rival_beside_it(compare, tmp_path):
    file = written(tmp_path / "scores.jsonl", rows(100, 0))
    status, out, err = compare(file, "--seeds", "1", "--folds", "3", "--out", str(tmp_path / "report"))
    assert status == 0, err
    first = out.splitlines()[0]
    assert first.startswith("fugu (") and " gains +0." in first and "not taught" in first
    found = json.loads((tmp_path / "report" / "comparison.json").read_text())
    by_name = {row["name"]: row for row in found["seeds"]["0"]}
    assert {
        "kNN",
        "ridge",
        "matrix factorisation",
        "logistic per worker",
        "hard argmax",
        "small network",
        "contrastive",
    } <= by_name.keys()
    assert {"length and form only", "shuffled labels", "task table (predicted)", "fugu (by task)"} <= by_name.keys()
    assert by_name["fugu (by task)"]["gain_low"] > 0 and by_name["fugu (by task)"]["n"] == 100
    assert by_name["shuffled labels"]["gain"] < 0.1 < by_name["fugu (by task)"]["gain"]
    assert {(row["router"], row["task"]) for row in found["unseen"]} >= {("fugu (by task)", task) for task in TASKS}
    flat = pd.read_csv(tmp_path / "report" / "comparison.csv")
    assert set(flat["name"]) == by_name.keys() and "gap_closed" in flat
    assert [point["questions"] for point in found["curve"]] == [66] and found["curve"][0]["low"] > 0
    assert "may open from 66 train questions" in out
    page = (tmp_path / "report" / "comparison.html").read_text()
    assert first in page and "<svg" in page and "http" not in page.replace("http://www.w3.org", "").split("<svg")[0]


def test_the_states_are_read_once_and_the_same_command_says_the_same(compare, tmp_path):
    file = written(tmp_path / "scores.jsonl", rows(60, 1))
    words = (file, "--seeds", "1", "--folds", "2", "--no-unseen")
    first, again = (
        [line for line in compare(*words)[1].splitlines() if " p95 " not in line]  # a time is never the same twice
        for _ in range(2)
    )
    assert first == again
    kept = sorted((tmp_path / "home" / "states").iterdir())
    written_at = [file.stat().st_mtime_ns for file in kept]
    assert len(kept) == 1 + len(KINDS)
    compare(*words)
    assert [file.stat().st_mtime_ns for file in sorted((tmp_path / "home" / "states").iterdir())] == written_at


def test_the_page_says_how_far_a_router_can_be_relied_on(compare, tmp_path):
    file = written(tmp_path / "scores.jsonl", rows(240, 0))
    words = ("--seeds", "2", "--folds", "3", "--no-unseen", "--no-curve", "--out", str(tmp_path / "report"))
    status, out, err = compare(file, *words)
    assert status == 0, err
    found = json.loads((tmp_path / "report" / "comparison.json").read_text())
    by_task = [row for row in found["calibration"] if row["router"].startswith("fugu (by task)")]
    assert [row["router"] for row in by_task] == ["fugu (by task), seed 0", "fugu (by task), seed 1"]
    for row in by_task:  # the worker for a question is right in nine cases of ten
        assert row["n"] == 240 and row["measured"] == pytest.approx(0.9, abs=0.07)
        assert row["ece"] < 4 * row["chance"] and row["brier"] == pytest.approx(0.09, abs=0.05)
        assert sum(questions for questions, _, _ in row["bins"]) == 240
    flips = pd.DataFrame(found["flips"])
    assert set(flips["perturbation"]) == set(KINDS) and set(flips["n"]) == {240}
    assert flips["flip_rate"].between(0, 1).all() and (flips["loss"].abs() <= flips["flip_rate"] + 1e-9).all()
    tasks = pd.DataFrame(found["tasks"]).set_index(["task", "name"])
    assert set(tasks.index) == {(task, name) for task in TASKS for name in ("fugu (by task)", "fugu (warm start)")}
    assert set(tasks["n"]) == {120} and (tasks["oracle"] >= tasks["score"]).all()
    assert {row["router"] for row in found["latency"]} == {"fugu (by task)", "fugu (warm start)"}
    assert all(0 < row["p50_ms"] <= row["p95_ms"] for row in found["latency"])
    assert len(found["notes"]) == 2 and "12 %" in found["notes"][1]
    flat = pd.read_csv(tmp_path / "report" / "comparison.csv").set_index(["seed", "name"])
    assert flat.loc[(0, "oracle"), "recall"] == 1 and flat.loc[(0, "fugu (by task)"), "entropy"] > 0.9
    page = (tmp_path / "report" / "comparison.html").read_text()
    for title in ("By task", "Calibration", "Choices on questions that mean the same", "Latency of one decision"):
        assert f"<h2>{title}" in page
    told = out.splitlines()
    first = next(at for at, line in enumerate(told) if "expected beside measured score" in line)
    assert [line.split(":")[0].strip() for line in told[first : first + 5]] == [
        "fugu (by task), expected beside measured score",
        *KINDS,
        "a decision on this machine",
    ]
    assert page.index("<svg") < page.index("<table")


def test_a_router_that_knows_too_little_to_read_never_flips(compare, tmp_path):
    """Of twelve questions a head of tasks learns one thing: who is best."""
    file = written(tmp_path / "scores.jsonl", rows(12, 3))
    status, _, err = compare(file, "--seeds", "1", "--folds", "2", "--no-curve", "--out", str(tmp_path / "report"))
    assert status == 0, err
    found = json.loads((tmp_path / "report" / "comparison.json").read_text())["flips"]
    assert [row["flip_rate"] for row in found if row["router"] == "fugu (by task), seed 0"] == [0, 0, 0]


def test_where_replies_were_repeated_the_oracles_luck_is_taken_out(compare, tmp_path):
    draws = np.random.default_rng(11)
    content = [
        row | {"scores": {name: (draws.random(4) < 0.5).astype(float).tolist() for name in row["scores"]}}
        for row in rows(300, 11)
    ]
    file = written(tmp_path / "scores.jsonl", content)
    words = ("--seeds", "1", "--folds", "3", "--no-unseen", "--no-curve", "--out", str(tmp_path / "report"))
    status, out, err = compare(file, *words)
    assert status == 0, err
    found = json.loads((tmp_path / "report" / "comparison.json").read_text())
    known = {row["name"]: row for row in found["seeds"]["0"]}
    assert known["oracle"]["score"] > 0.6
    assert known["oracle (noise-corrected)"]["score"] == pytest.approx(0.5, abs=0.06)
    assert "chooses by all repeats but one" in out and "12 %" not in out


def test_more_questions_teach_more_and_the_fewest_that_suffice_are_said(compare, tmp_path):
    """A third worker is good everywhere, so that few questions do not show who is better at what."""
    content = rows(480, 8)
    draws = np.random.default_rng(9)
    for row in content:
        row["scores"] = {"adder": float(draws.random() < (0.72 if row["task"] == "sums" else 0.45))} | {
            "speller": float(draws.random() < (0.45 if row["task"] == "sums" else 0.72)),
            "good": float(draws.random() < 0.6),
        }
    file = written(tmp_path / "scores.jsonl", content)
    status, out, err = compare(file, "--seeds", "1", "--folds", "3", "--no-unseen", "--out", str(tmp_path / "report"))
    assert status == 0, err
    found = json.loads((tmp_path / "report" / "comparison.json").read_text())["curve"]
    assert [point["questions"] for point in found] == [100, 300, 320]
    assert found[0]["gain"] < found[-1]["gain"] and found[-1]["low"] > 0
    last = [point["low"] > 0 for point in found]
    fewest = found[max((i + 1 for i, sure in enumerate(last) if not sure), default=0)]["questions"]
    assert f"the gate may open from {fewest} train questions on" in out
    assert (
        "--no-curve" not in out and compare(file, "--seeds", "1", "--folds", "3", "--no-unseen", "--no-curve")[0] == 0
    )


def test_from_one_file_to_another_what_both_have_is_not_learned_from(compare, tmp_path):
    train, test = rows(90, 2), rows(60, 3)
    copied = [row | {"id": f"copy {row['id']}"} for row in test[:7]]
    one, two = written(tmp_path / "a.jsonl", train + copied), written(tmp_path / "b.jsonl", test)
    status, out, err = compare(one, "--test", two, "--seeds", "1", "--no-unseen")
    assert status == 0 and "note: 7 texts of a.jsonl are left out" in err and "gains +0." in out


def test_scores_without_a_pattern_promise_nothing(compare, tmp_path):
    file = written(tmp_path / "scores.jsonl", rows(90, 4, learnable=False))
    status, out, _ = compare(file, "--seeds", "1", "--folds", "3", "--no-unseen")
    assert status == 0 and "gains nothing that is certain" in out.splitlines()[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds no score"),
        (rows(2, 5), "too few"),
        ([{"id": "a", "task": "t", "question": "?", "scores": {"a": 2, "b": 0}}], "scores.a"),
    ],
)
def test_what_cannot_be_compared_is_one_line(compare, tmp_path, content, message):
    status, out, err = compare(written(tmp_path / "scores.jsonl", content))
    assert status == 2 and out == "" and message in err and err.count("\n") == 1, err


def test_two_files_of_other_workers_are_one_line(compare, tmp_path):
    other = [row | {"scores": {"adder": 1, "poet": 0}} for row in rows(10, 6)]
    one, two = written(tmp_path / "a.jsonl", rows(10, 7)), written(tmp_path / "b.jsonl", other)
    status, _, err = compare(one, "--test", two)
    assert status == 2 and "speller" in err


def test_where_some_workers_are_offered_routers_stand_beside_the_best_and_the_table_among_them(compare, tmp_path):
    draws = np.random.default_rng(3)
    three = [
        row | {"scores": row["scores"] | {"idler": float(draws.random() < 0.3), "middler": float(draws.random() < 0.5)}}
        for row in rows(120, 0)
    ]
    file = written(tmp_path / "scores.jsonl", three)
    words = ["--seeds", "2", "--folds", "3", "--no-unseen", "--no-curve", "--out", str(tmp_path / "report")]
    status, out, err = compare(file, *words)
    assert status == 0, err
    assert "Where each question offers a random part of the workers:" in out
    told = [line for line in out.splitlines() if line.startswith("  fugu (by task) over the ")]
    single, table = (re.findall(r"([+-]\d\.\d{4}) \[([+-]\d\.\d{4})", line) for line in told)
    assert len(single) == len(table) == 2 and all(float(low) > 0 for _, low in single)
    assert all(float(gain) > -0.05 for gain, _ in table)
    found = json.loads((tmp_path / "report" / "comparison.json").read_text())
    assert len(found["offered"]) == 4
    assert "random part of the workers" in (tmp_path / "report" / "comparison.html").read_text()


@pytest.mark.parametrize(("questions", "workers"), [(500, 3), (500, 9)])
def test_offers_leave_two_workers_at_least_and_never_all(questions, workers):
    offers = random_offers(questions, workers, seed=0)
    count = offers.sum(axis=1)
    assert set(count) == set(range(2, workers)) and offers.sum(axis=0).min() > questions / workers
    np.testing.assert_array_equal(offers, random_offers(questions, workers, seed=0))
    assert random_offers(questions, 2, seed=0) is None


def test_where_workers_cost_something_the_knob_is_measured_and_drawn(compare, tmp_path):
    usd = {"adder": 1e-4, "speller": 1e-3}
    file = written(tmp_path / "scores.jsonl", [row | {"costs": usd} for row in rows(100, 0)])
    asked = ("--seeds", "1", "--folds", "3", "--no-unseen", "--no-curve", "--out", str(tmp_path / "report"))
    status, out, err = compare(file, *asked)
    assert status == 0, err
    found = json.loads((tmp_path / "report" / "comparison.json").read_text())
    [worth] = [row for row in found["knobs"] if row["router"] == "fugu (by task)"]
    costs = [cost for cost, _ in worth["points"].values()]
    assert costs[0] > costs[-1] == pytest.approx(0.1) and sorted(costs, reverse=True) == costs
    # Half of the questions are sums, which the cheap worker solves: it need not be paid for the others to gain.
    assert worth["gain_low"] > 0 and worth["aiq"] > worth["zero_aiq"]
    page = (tmp_path / "report" / "comparison.html").read_text()
    assert "What the knob between quality and cost is worth" in page and "by its knob" in page
    assert "over mixing workers blindly" in out
    free = written(tmp_path / "free.jsonl", rows(100, 0))
    assert compare(free, *asked)[0] == 0
    assert json.loads((tmp_path / "report" / "comparison.json").read_text())["knobs"] == []
