"""Holds: what a request may still cost is its own, whatever others spend, and comes back to the budgets at its end."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from models.ledger.access.holds import HELD, lapse, release
from models.ledger.access.limits import hold
from models.ledger.access.purses import Purse
from models.ledger.accounts import Allowance
from models.ledger.budgets import lineage, remaining
from models.ledger.calls import CallSpec, Settlement, claim, fail, settle
from models.ledger.tables import budgets, tries
from models.ledger.tables.access import holds

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
PURSE = Purse("k", "ci", total_usd=9.0, day_usd=1.0)


def spec(id, worst, request="r", purse=PURSE):
    return CallSpec(id, request, "w", "1", {}, worst, Allowance(request, purse=purse, held=request != "other"))


def state(ledger, *specs):
    return [one.state for one in claim(ledger, specs, "me")]


def reserved(ledger):
    return remaining(ledger, "key:k")["reserved"]


def test_calls_take_from_their_requests_hold_and_the_rest_comes_back(ledger, at):
    assert hold(ledger, "r", PURSE, 0.7) is None and reserved(ledger) == 0.7
    assert state(ledger, spec("a", 0.4, "other")) == ["held"]
    assert state(ledger, spec("b", 0.4)) == ["mine"] and reserved(ledger) == 0.7
    assert state(ledger, spec("c", 0.5)) == ["mine"] and reserved(ledger) == pytest.approx(0.9)  # 0.3 of it is held
    settle(ledger, [Settlement("b", 1, "me", {}, 0.1, 0.0)])
    assert remaining(ledger, "key:k") == {"limit": 9.0, "reserved": 0.5, "spent": 0.1, "left": 8.4}
    assert hold(ledger, "r", PURSE, 0.3) is None and hold(ledger, "r", PURSE, 0.1, more=True) is None
    assert hold(ledger, "r", PURSE, 0.2) is None  # instead of both
    assert reserved(ledger) == 0.7
    release(ledger, "r")
    release(ledger, "r")
    assert reserved(ledger) == 0.5 and state(ledger, spec("a", 0.4, "other")) == ["mine"]


def test_what_does_not_fit_changes_nothing_and_says_whose_limit_it_is(ledger, at):
    assert hold(ledger, "r", PURSE, 0.7) is None
    waits, never = hold(ledger, "s", PURSE, 0.4), hold(ledger, "s", PURSE, 1.1)
    assert waits.waits and not never.waits
    assert "the budget of today (UTC) of the key 'ci' (1 USD)" in never.budget
    assert "a request all of whose calls may cost 1.1 USD" in never.budget
    assert hold(ledger, "r", PURSE, 0.4, more=True) is not None and hold(ledger, "r", PURSE, 1.01) is not None
    assert reserved(ledger) == 0.7 and state(ledger, spec("b", 0.7)) == ["mine"]


def test_a_hold_of_yesterday_pays_for_calls_of_today(ledger, at):
    assert hold(ledger, "r", PURSE, 0.8) is None
    at(NOON + timedelta(hours=13))
    assert state(ledger, spec("b", 0.6), spec("c", 0.5)) == ["mine", "held"]  # today's budget is another one
    assert remaining(ledger, "key:k/2026-11/30")["reserved"] == pytest.approx(0.2)
    assert remaining(ledger, "key:k/2026-12/01")["reserved"] == 0.6 and reserved(ledger) == pytest.approx(0.8)
    release(ledger, "r")
    assert remaining(ledger, "key:k/2026-11/30")["reserved"] == 0.0 and reserved(ledger) == 0.6


def test_a_dead_processs_hold_lapses_and_one_in_use_does_not(ledger, at):
    assert hold(ledger, "r", PURSE, 0.5) is None and hold(ledger, "s", PURSE, 0.4) is None
    at(NOON + HELD / 2)
    assert state(ledger, spec("b", 0.1, "s")) == ["mine"]
    at(NOON + HELD)
    assert lapse(ledger, PURSE.root) and not lapse(ledger, PURSE.root)
    # What a claim that was never sent has reserved is free, too, once its lease is over.
    assert reserved(ledger) == pytest.approx(0.3) and not lapse(ledger, "key:other")


def check(ledger):
    """Every budget has reserved what open tries and holds have, and no more than its limit with what it has spent."""
    with ledger.reading() as connection:
        open_ = connection.execute(
            select(tries.c.budget, tries.c.worst_usd).where(tries.c.status.in_(("claimed", "sent")))
        ).all()
        held = connection.execute(select(holds.c.budget, holds.c.usd)).all()
        rows = connection.execute(select(budgets)).all()
    for row in rows:
        mine = [usd for budget, usd in (*open_, *held) if row.name in lineage(budget)]
        assert row.reserved_usd == pytest.approx(sum(mine), abs=1e-9)
        assert min(mine, default=0.0) >= 0.0 and row.spent_usd + row.reserved_usd <= row.max_usd + 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_the_budgets_have_reserved_what_calls_and_holds_may_cost(ledger, at, seed):
    chance, time, open_, number = random.Random(seed), NOON, [], 0
    for _ in range(120):
        request, usd = chance.choice("rs"), round(chance.random() / 3, chance.choice([2, 9, 15]))
        match chance.choice(["hold", "more", "call", "call", "other", "end", "end", "release", "time"]):
            case "hold" | "more" as kind:
                hold(ledger, request, PURSE, usd, more=kind == "more")
            case "call" | "other" as kind:
                number += 1
                found = claim(ledger, [spec(str(number), usd, request if kind == "call" else "other")], "me")
                open_ += [(str(number), usd)] if found[0].state == "mine" else []
            case "end" if open_:
                id, worst = open_.pop(chance.randrange(len(open_)))
                if chance.random() < 0.5:
                    settle(ledger, [Settlement(id, 1, "me", {}, worst * chance.random(), 0.0)])
                else:
                    fail(ledger, id, 1, "me", "no", transient=True)
            case "release":
                release(ledger, request)
            case "time":
                time += timedelta(minutes=chance.choice([1, 10, 600]))
                at(time)
                lapse(ledger, PURSE.root)
        check(ledger)


def test_requests_at_once_are_each_paid_to_their_end_or_not_begun(ledger):
    """Each holds three calls: whoever has begun can pay all of them."""
    purse, begun = Purse("k", "ci", day_usd=1.0), []

    def request(number):
        name = f"r{number}"
        if hold(ledger, name, purse, 0.3) is not None:
            return
        begun.append(name)
        for call in range(3):
            assert state(ledger, spec(f"{name}-{call}", 0.1, name, purse)) == ["mine"]
            settle(ledger, [Settlement(f"{name}-{call}", 1, "me", {}, 0.08, 0.0)])
        release(ledger, name)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(request, range(16)))
    check(ledger)
    spent = remaining(ledger, "key:k/" + datetime.now(UTC).strftime("%Y-%m/%d"))
    assert (spent["spent"], spent["reserved"]) == (pytest.approx(0.24 * len(begun)), 0.0) and 1 <= len(begun) <= 4
