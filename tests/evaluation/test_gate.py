"""The gate opens only where every figure is there and says so."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from models.evaluation.baselines import BEST_SINGLE, KNN, TASK_PREDICTED
from models.evaluation.gate import gate
from models.evaluation.metrics import Entry

HARD = np.random.default_rng(0).random(600) * 0.5


def row(name: str, gain: float, noise: float = 0.02) -> Entry:
    draws = np.random.default_rng(len(name))
    scores = HARD + gain + noise * draws.standard_normal(600)
    return Entry(name, scores, np.zeros(600), np.ones((600, 1)))


ENTRIES = [row("router", 0.1), row("sage", 0.0), row(BEST_SINGLE, 0.0), row(KNN, 0.1), row(TASK_PREDICTED, 0.09)]


def replaced(name: str, **fields: object) -> list[Entry]:
    return [dataclasses.replace(e, **fields) if e.name == name else e for e in ENTRIES]


def test_a_router_that_beats_the_champion_and_matches_the_rivals_is_promoted():
    verdict = gate(ENTRIES, "router", "sage")
    assert verdict.promoted and verdict.line == "router: promoted" and len(verdict.bounds) == 4
    assert all(bound.passed for bound in verdict.bounds)


@pytest.mark.parametrize("rival", ["sage", BEST_SINGLE, KNN, TASK_PREDICTED])
def test_a_rival_that_is_too_good_closes_the_gate_and_is_named(rival):
    verdict = gate(replaced(rival, scores=row("better", 0.13).scores), "router", "sage")
    assert not verdict.promoted and rival in verdict.line
    assert [bound.rival for bound in verdict.bounds if not bound.passed] == [rival]


@pytest.mark.parametrize("rival", ["sage", BEST_SINGLE, KNN, TASK_PREDICTED, "router"])
def test_a_missing_figure_fails(rival):
    gone = gate([e for e in ENTRIES if e.name != rival], "router", "sage")
    holes = gate(replaced(rival, scores=np.full(600, np.nan)), "router", "sage")
    assert not gone.promoted and not holes.promoted and "no figure" in gone.line and "no figure" in holes.line


def test_without_a_champion_nothing_is_promoted():
    assert not gate(ENTRIES, "router", None).promoted


def test_the_champion_does_not_replace_itself():
    assert not gate(ENTRIES, "router", "router").promoted


def test_a_gain_within_noise_is_not_enough():
    noisy = replaced("router", scores=row("router", 0.002, noise=0.3).scores)
    assert "better than sage" in gate(noisy, "router", "sage").line


def test_inferior_by_less_than_the_margin_passes_and_by_more_does_not():
    near = replaced(KNN, scores=ENTRIES[0].scores + 0.009)
    far = replaced(KNN, scores=ENTRIES[0].scores + 0.011)
    assert gate(near, "router", "sage").promoted and not gate(far, "router", "sage").promoted


@pytest.mark.parametrize(("gain", "opens"), [(0.09, True), (0.11, False)])
def test_no_router_takes_the_place_of_a_better_warm_start(gain, opens):
    entries = [*ENTRIES, row("warm", gain, noise=0.0)]
    verdict = gate(entries, "router", "sage", "warm")
    assert verdict.promoted == opens and (opens or "not below warm" in verdict.line)
    assert gate(entries, "router", "sage").promoted  # by the other rules alone
