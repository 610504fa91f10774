"""What a knob is worth: figures that one can compute by hand, and a router that knows something beside one that does
not."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.metrics import entry
from models.evaluation.spending import aiq, spending
from models.fugu.thrift import SETTINGS, fit_knob

DEARER = np.array([0.0, 1e-3])
"""Of two equal scores a router prefers the dearer worker's."""


def test_the_mean_height_of_a_hull():
    assert aiq([(0, 0.0), (1, 1.0)], 0, 1) == pytest.approx(0.5)
    assert aiq([(0, 0.5), (1, 0.4), (2, 1.0)], 0, 4) == pytest.approx((0.75 * 2 + 1.0 * 2) / 4)
    assert aiq([(0, 0.5)], 0, 1) == pytest.approx(0.5)
    assert aiq([(1, 0.2), (2, 0.6), (5, 1.0)], 1, 2) == pytest.approx(0.4)


@pytest.fixture
def measured():
    """Scores and costs of a cheap worker that solves half of the questions, and a dear one that solves all of these
    and most of the others."""
    draws = np.random.default_rng(0)
    easy = draws.random(2000) < 0.5
    scores = np.stack([easy, easy | (draws.random(2000) < 0.8)], axis=1).astype(float)
    costs = np.stack([draws.gamma(4, 0.25e-3, 2000), draws.gamma(4, 2.5e-3, 2000)], axis=1)
    return scores, costs


def found(scores, costs, logits):
    knob, settings = fit_knob(logits, costs), np.linspace(0, 1, SETTINGS)
    curve = {s: entry(f"{s}", (logits - knob.penalty(s)).argmax(axis=1), scores, costs) for s in settings}
    alone = [entry(f"{w}", np.full(len(scores), w), scores, costs) for w in range(2)]
    return spending(curve, alone, 1)


def test_a_router_that_knows_which_question_is_hard_pays_half_and_one_that_does_not_gains_nothing(measured):
    scores, costs = measured
    knows = found(scores, costs, scores + DEARER)
    assert knows.gain.low > 0 and knows.matched == pytest.approx(0.5, abs=0.1) and knows.apgr > 0.7
    assert knows.half < knows.matched and knows.row["points"]["1"][0] == pytest.approx(1e3 * costs[:, 0].mean())
    guesses = found(scores, costs, np.random.default_rng(1).normal(size=scores.shape) + 1000 * DEARER)
    assert guesses.gain.low < 0.01 and guesses.gain.high < 0.02


def test_workers_that_cost_the_same_have_no_curve_and_a_cheap_best_worker_no_gap(measured):
    scores, costs = measured
    assert found(scores, np.ones_like(costs), scores) is None
    backwards = found(scores, costs[:, ::-1], scores + DEARER)
    assert backwards.apgr is backwards.matched is backwards.half is None
