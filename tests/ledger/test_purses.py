"""A key's budgets hold to the billionth of a dollar, whatever spends at once, and begin anew with the day in UTC."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from models.ledger.access.purses import Purse
from models.ledger.accounts import Allowance
from models.ledger.budgets import remaining
from models.ledger.calls import CallSpec, Settlement, claim, fail, settle
from models.ledger.tables import budgets, calls, tries
from models.ledger.tries import free, send


def spec(id, worst, purse, request="r", **limits):
    return CallSpec(id, request, "w", "1", {}, worst, Allowance(request, purse=purse, **limits))


def states(found):
    return [one.state for one in found]


@pytest.mark.programs
def test_sixty_four_spenders_in_several_processes_never_pass_a_budget_by_a_cent(ledger, url):
    purse = Purse("k", "ci", total_usd=1.9, month_usd=1.5, day_usd=1.0)
    command = [sys.executable, str(Path(__file__).with_name("spender.py")), url, json.dumps(asdict(purse)), "32", "3"]
    spenders = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    settled = sum(int(spender.communicate(timeout=240)[0]) for spender in spenders)
    assert [spender.returncode for spender in spenders] == [0] * 2
    with ledger.reading() as connection:
        rows = connection.execute(select(budgets).order_by(budgets.c.name)).all()
        doubt = tries.c.status == "maybe_paid"
        paid = connection.execute(select(func.sum(tries.c.cost_usd))).scalar_one()
        doubtful = connection.execute(select(func.sum(tries.c.worst_usd)).where(doubt)).scalar_one() or 0.0
    assert len(rows) == 3 and {row.reserved_usd for row in rows} == {0.0}
    # All three have paid the same, to the billionth, what is in doubt at its worst; the day's is full.
    assert {row.spent_usd for row in rows} == {round(paid + doubtful, 9)} and paid == pytest.approx(settled * 0.0211)
    assert 1.0 - 0.03 < rows[0].spent_usd <= 1.0


def test_a_budget_says_whose_it_is_and_what_waits(ledger, at):
    purse = Purse("k", "ci", total_usd=10.0, day_usd=1.0)
    mine, waits, never = claim(ledger, [spec("a", 0.7, purse), spec("b", 0.7, purse), spec("c", 1.1, purse)], "me")
    assert states([mine, waits, never]) == ["mine", "held", "limited"]
    assert "the budget of today (UTC) of the key 'ci' (1 USD)" in waits.budget and "0.7 reserved" in waits.budget
    settle(ledger, [Settlement("a", 1, "me", {}, 0.2, 0.0)])
    assert states(claim(ledger, [spec("b", 0.7, purse)], "me")) == ["mine"]
    assert remaining(ledger, "key:k") == {"limit": 10.0, "reserved": 0.7, "spent": 0.2, "left": 9.1}
    tight = Purse("t", "tight", total_usd=0.5, day_usd=1.0)
    assert "the budget of the key 'tight'" in claim(ledger, [spec("d", 0.7, tight)], "me")[0].budget


def test_a_day_and_a_month_begin_at_midnight_in_utc(ledger, at):
    purse = Purse("k", "ci", month_usd=1.5, day_usd=1.0)
    last = datetime(2026, 11, 30, 23, 59, 59, 999_999, tzinfo=UTC)
    at(last)
    assert states(claim(ledger, [spec("a", 1.0, purse), spec("b", 0.1, purse)], "me")) == ["mine", "held"]
    at(last + timedelta(microseconds=1))  # another day, and another month
    assert states(claim(ledger, [spec("b", 1.0, purse)], "me")) == ["mine"]
    settle(ledger, [Settlement("a", 1, "me", {}, 0.4, 0.0)])  # of yesterday, whose budget pays
    assert remaining(ledger, "key:k/2026-11/30")["spent"] == remaining(ledger, "key:k/2026-11")["spent"] == 0.4
    assert remaining(ledger, "key:k/2026-12/01") == {"limit": 1.0, "reserved": 1.0, "spent": 0.0, "left": 0.0}
    at(datetime(2026, 12, 2, tzinfo=UTC))  # the month's has 0.5 left
    found = claim(ledger, [spec("c", 0.6, purse), spec("d", 0.5, purse)], "me")
    assert states(found) == ["held", "mine"] and "of this month" in found[0].budget


def test_the_requests_limit_and_the_keys_budgets_hold_together(ledger, at):
    purse = Purse("k", "ci", total_usd=1.0)
    both = [spec("a", 0.3, purse, max_usd=0.5), spec("b", 0.3, purse, max_usd=0.5)]
    first, second = claim(ledger, both, "me")
    assert (first.state, second.state, second.limit) == ("mine", "held", "wait")
    settle(ledger, [Settlement("a", 1, "me", {}, 0.3, 0.0)])
    [second] = claim(ledger, both[1:], "me")
    assert (second.state, second.limit, second.budget) == ("limited", "max_usd", None)
    assert remaining(ledger, "key:k") == {"limit": 1.0, "reserved": 0.0, "spent": 0.3, "left": 0.7}


def test_what_a_dead_process_reserved_and_did_not_send_is_free_again(ledger):
    purse = Purse("k", "ci", total_usd=1.0, day_usd=1.0)
    claim(ledger, [spec("a", 0.6, purse), spec("b", 0.4, purse)], "dead", lease_s=0)
    send(ledger, [("b", 1)], "dead", lease_s=0)
    assert states(claim(ledger, [spec("c", 0.6, purse)], "me")) == ["held"]
    assert free(ledger, purse.root) and states(claim(ledger, [spec("c", 0.6, purse)], "me")) == ["mine"]
    # What was sent may have been paid: it counts until it is known.
    assert remaining(ledger, "key:k")["left"] == pytest.approx(0.0)
    fail(ledger, "c", 1, "me", "no", transient=True)
    assert states(claim(ledger, [spec("b", 0.4, purse)], "me")) == ["mine"]
    with ledger.reading() as connection:
        assert connection.execute(select(calls.c.attempt).where(calls.c.id == "b")).scalar_one() == 2
