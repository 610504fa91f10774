"""Intervals over seeds hold the variation of seeds and of questions."""

from __future__ import annotations

import numpy as np
import pytest
from figures import over_seeds

from models.evaluation.metrics import bootstrap, interval


def test_an_interval_over_seeds_holds_both_variations():
    draws = np.random.default_rng(0)
    questions, seeds = 0.3 * draws.standard_normal(500), 0.05 * draws.standard_normal((6, 1))
    gaps = 0.02 + questions + seeds + 0.1 * draws.standard_normal((6, 500))
    value, low, high = over_seeds(gaps)
    assert value == pytest.approx(gaps.mean())
    of_questions = bootstrap(gaps.mean(axis=0)[:, None])[:, 0].std()
    of_seeds = gaps.mean(axis=1).std(ddof=1) / np.sqrt(6)
    assert (high - low) / 3.92 == pytest.approx(np.hypot(of_questions, of_seeds), rel=0.25)


def test_one_seed_leaves_the_questions_variation():
    gaps = np.random.default_rng(0).standard_normal((1, 400))
    of_questions = interval(float(gaps.mean()), bootstrap(gaps.T)[:, 0])
    assert over_seeds(gaps) == pytest.approx(of_questions, abs=0.02)
