"""The knob between quality and cost: its settings mean what they say, on the train questions and under masks."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from models.errors import BadInput
from models.fugu.decision import decisions_on, mask_of
from models.fugu.roles import Role
from models.fugu.thrift import SETTINGS, CostKnob, fit_knob, thrifty


def drawn(seed, workers=5, questions=400):
    draws = np.random.default_rng(seed)
    costs = draws.gamma(2.0, draws.uniform(0.1, 5, workers) * 1e-3, (questions, workers))
    return draws.normal(0, 3, (questions, workers)) + 400 * costs.mean(axis=0), costs


def spent(knob, logits, setting):
    return np.asarray(knob.usd)[(logits - knob.penalty(setting)).argmax(axis=1)].mean()


@pytest.mark.parametrize("seed", range(5))
def test_a_setting_saves_its_share_of_what_can_be_saved(seed):
    logits, costs = drawn(seed)
    knob = fit_knob(logits, costs)
    first, last = spent(knob, logits, 0.0), costs.mean(axis=0).min()
    assert first == costs.mean(axis=0)[logits.argmax(axis=1)].mean() and first > last
    cost = [spent(knob, logits, setting) for setting in np.linspace(0, 1, SETTINGS)]
    allowed = first - np.linspace(0, 1, SETTINGS) * (first - last)
    assert (np.diff(cost) <= 1e-12).all() and cost[-1] == pytest.approx(last)
    # One question more or less is what a setting may be off by: a choice changes at once, and logits are rounded.
    assert np.abs(cost - allowed).max() <= np.ptp(knob.usd) / len(logits) + 1e-9
    between = [spent(knob, logits, setting) for setting in np.linspace(0, 1, 101)]
    assert (np.diff(between) <= 1e-12).all()


def test_it_is_the_same_after_the_ledger_and_has_names():
    knob = fit_knob(*drawn(1), {"half": 0.5})
    again = CostKnob.of(knob.meta)
    assert again.setting("half") == 0.5 and again.setting(0.25) == 0.25
    assert (again.penalty(0.5) == knob.penalty(0.5)).all() and CostKnob.of(None) is None
    with pytest.raises(BadInput, match="there are: half"):
        again.setting("quarter")


def test_workers_that_cost_the_same_or_nothing_are_never_penalised():
    logits, costs = drawn(2)
    for same in (np.zeros_like(costs), np.ones_like(costs)):
        knob = fit_knob(logits, same)
        assert not any(knob.penalty(setting).any() for setting in (0, 0.5, 1))


def test_costs_that_are_not_known_of_every_question_count_where_they_are():
    logits, costs = drawn(3)
    holes = np.where(np.random.default_rng(0).random(costs.shape) < 0.5, np.nan, costs)
    assert fit_knob(logits, holes).usd == pytest.approx(np.nanmean(holes, axis=0).tolist())


class Fixed:
    """A router whose logits never change; its role is the second."""

    workers, roles, released = ("a", "b", "c"), True, None
    logits = np.array([[3.0, 2.0, 0.5, 0.0, 1.0, 0.0]], np.float32)

    async def decide(self, messages, allowed=None):
        return decisions_on(self.logits, mask_of(allowed, self.workers, 1), self.workers, roles=True)[0]


@pytest.mark.parametrize(
    ("setting", "allowed", "worker", "margin"),
    [
        (0.5, None, "b", 0.5),
        (0.5, ["a", "c"], "c", 0.5),
        (1.0, None, "c", 0.5),
        (1.0, ["a", "b"], "b", 3.0),
        (1.0, ["a"], "a", np.inf),
    ],
)
def test_it_decides_among_the_allowed_by_the_penalised_logits(setting, allowed, worker, margin):
    knob = CostKnob([3.0, 1.0, 0.0], [0.0, 1.0, 2.0])
    found = asyncio.run(thrifty(Fixed(), knob, setting).decide([{"role": "user", "content": "?"}], allowed))
    assert (found.worker, found.margin, found.role) == (worker, pytest.approx(margin), Role(1))
    assert found.worker == Fixed.workers[found.worker_index] and found.role_logits.tolist() == [0.0, 1.0, 0.0]


def test_without_a_setting_or_a_knob_it_is_the_router_itself():
    router, knob = Fixed(), CostKnob([3.0, 1.0, 0.0], [0.0, 1.0, 2.0])
    assert all(thrifty(router, *given) is router for given in ((knob, None), (knob, 0.0), (None, 0.5), (None, "x")))
