"""Calibration, flips, latency and the noise-corrected oracle give what is known of made-up pools."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import BadInput
from models.evaluation.baselines import ORACLE, Part, baselines
from models.evaluation.calibration import calibration, expected_scores
from models.evaluation.families import families
from models.evaluation.latency import FIRST, MOST, latency
from models.evaluation.metrics import concatenate, entropy, entry, rarely_solved, tokens_per_1000
from models.evaluation.noise import ORACLE_CORRECTED, by_repeat, corrected_oracle
from models.evaluation.robustness import flips
from models.evaluation.table import table


def test_a_router_that_knows_the_chances_is_calibrated_within_noise():
    draws = np.random.default_rng(0)
    chance = draws.random(20_000)
    found = calibration(chance, (draws.random(20_000) < chance).astype(float))
    assert found.ece < 2 * found.chance < 0.02
    assert found.brier == pytest.approx(1 / 6, abs=0.005)  # the mean of p (1 − p) over even chances
    assert found.skill == pytest.approx(1 / 3, abs=0.03)
    assert [each.questions for each in found.bins] == [2000] * 10


def test_one_that_promises_too_much_is_off_by_as_much():
    draws = np.random.default_rng(1)
    chance = draws.uniform(0, 0.7, 5000)
    found = calibration(chance + 0.2, (draws.random(5000) < chance).astype(float))
    assert found.ece == pytest.approx(found.predicted - found.measured) and found.ece == pytest.approx(0.2, abs=0.03)
    assert found.ece > 5 * found.chance


def test_equal_predictions_are_one_bin_and_predictions_are_scores():
    measured = np.tile([0.0, 1.0], 200)
    found = calibration(np.full(400, 0.5), measured)
    assert len(found.bins) == 1 and found.ece == 0 and found.skill == 0
    over = calibration(np.full(400, 1.7), np.ones(400))
    assert over.predicted == 1 and over.brier == 0 and over.skill is None
    with pytest.raises(BadInput):
        calibration(np.zeros(2), np.zeros(3))
    with pytest.raises(BadInput):
        calibration(np.zeros(0), np.zeros(0))


def test_logits_are_scores_or_differences_of_scores():
    scores = np.array([[0.9, 0.1], [0.3, 0.5]])
    np.testing.assert_allclose(expected_scores(scores / 0.1, 0.1), scores)
    told = expected_scores(scores / 0.05 + 7, 0.05, level=0.45)
    np.testing.assert_allclose(told[:, 0] - told[:, 1], scores[:, 0] - scores[:, 1])
    np.testing.assert_allclose(told.mean(axis=1), 0.45)


def test_flips_are_counted_and_their_loss_is_that_of_the_scores():
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    before = entry("router", np.array([0, 0, 0, 1]), scores)
    after = entry("router", np.array([1, 0, 1, 1]), scores)
    found = flips("typos", before, after)
    assert found.rate.value == 0.5 and found.loss.value == 0.25 and found.questions == 4
    same = flips("typos", before, before)
    assert tuple(same.rate) == tuple(same.loss) == (0, 0, 0)


def test_latency_counts_decisions_after_the_first_few():
    asked = []
    found = latency(asked.append, range(1000), "cpu")
    assert len(asked) == MOST + FIRST and found.questions == MOST and 0 <= found.p50 <= found.p95
    assert latency(asked.append, range(FIRST), "cpu") is None


def test_luck_does_not_lift_the_corrected_oracle():
    """Two workers are right by a coin: choosing brings nothing, and the plain oracle says that it does."""
    draws = np.random.default_rng(2)
    repeats = (draws.random((4000, 2, 4)) < 0.5).astype(float)
    part = Part(repeats.mean(axis=2), np.zeros((4000, 1)), np.full(4000, "t"), np.zeros((4000, 2)), repeats=repeats)
    known = {each.name: each for each in baselines(part, part, ["a", "b"])}
    assert known[ORACLE].scores.mean() > 0.6
    assert known[ORACLE_CORRECTED].scores.mean() == pytest.approx(0.5, abs=0.02)


def test_what_shows_again_is_kept_by_the_corrected_oracle():
    sure = np.repeat(np.array([[1.0, 0.0], [0.0, 1.0]] * 50)[:, :, None], 2, axis=2)
    found = corrected_oracle(sure, np.tile([1.0, 3.0], (100, 1)))
    assert found.scores.mean() == 1 and found.costs.mean() == 2
    np.testing.assert_allclose(found.shares, sure[:, :, 0])


def test_repeats_that_some_workers_have_more_of_are_paired_by_order():
    repeats = np.array([[[1.0, np.nan, 1.0], [0.0, 0.0, np.nan]]])
    assert corrected_oracle(repeats, np.zeros((1, 2))).scores == [1.0]


def test_replies_are_put_in_order_by_question_and_worker():
    question, worker = np.array([1, 0, 1, 0, 1, 1, 0]), np.array([0, 1, 0, 0, 1, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    found = by_repeat(question, worker, scores, (2, 2), rows=np.array([1]))
    np.testing.assert_array_equal(found, [[[0.1, 0.3], [0.5, 0.6]]])
    assert by_repeat(question, worker, scores, (2, 2)) is None  # worker 0 was asked question 0 once
    more = np.append(question, 0), np.append(worker, 0), np.append(scores, 0.8)
    np.testing.assert_array_equal(by_repeat(*more, (2, 2)), [[[0.4, 0.8], [0.2, 0.7]], [[0.1, 0.3], [0.5, 0.6]]])


def test_the_table_tells_recall_where_few_solve_tokens_and_entropy():
    scores = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    tokens = np.tile([10.0, 20.0, 60.0], (4, 1))
    assert list(rarely_solved(scores)) == [True, True, False, False]
    part = Part(scores, np.arange(4.0)[:, None], np.full(4, "t"), np.zeros((4, 3)), tokens)
    rows = {row["name"]: row for row in table(baselines(part, part, "abc"), "abc")}
    assert rows["a"]["recall"] == 0.5 and rows[ORACLE]["recall"] == 1 and rows["c"]["recall"] == 0
    assert rows["b"]["tokens_per_1000"] == 20_000 and rows["random"]["tokens_per_1000"] == pytest.approx(30_000)
    assert rows["a"]["entropy"] == 0 and rows["random"]["entropy"] == pytest.approx(np.log2(3))


def test_tokens_and_their_absence_survive_folds():
    with_tokens = entry("r", np.array([0, 1]), np.zeros((2, 2)), tokens=np.array([[1.0, 2.0], [3.0, 4.0]]))
    without = entry("r", np.array([0]), np.zeros((1, 2)))
    [both] = concatenate([[with_tokens], [with_tokens.rows(np.array([1]))]])
    assert tokens_per_1000(both) == 3000 and entropy(both) == pytest.approx(0.9183, abs=1e-4)
    assert concatenate([[with_tokens], [without]])[0].tokens is None


def test_each_task_has_its_own_gain():
    tasks = np.repeat(["sums", "words", "rare"], [40, 40, 5])
    scores = np.array([[1.0, 0.0]] * 40 + [[0.0, 1.0]] * 45)
    part = Part(scores, np.zeros((85, 1)), tasks, np.zeros((85, 2)))
    entries = [*baselines(part, part, "ab"), entry("router", scores.argmax(axis=1), scores)]
    found = {each.task: each for each in families(entries, tasks, ["router"])}
    assert found.keys() == {"sums", "words"}  # five questions tell nothing
    assert found["sums"].gain == (1, 1, 1) and found["words"].gain == (0, 0, 0) and found["words"].single == 1
    assert families(entries, np.full(85, "one"), ["router"]) == []
