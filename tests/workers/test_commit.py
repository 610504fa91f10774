"""What is to be sent does not wait for other writes, nor these for long; a full budget takes nothing else back."""

from __future__ import annotations

import asyncio
import threading

import pytest

from models.errors import BudgetExceeded
from models.ledger.accounts import spend
from models.ledger.budgets import open_budget
from models.ledger.calls import CallSpec, Settlement
from models.workers.commit import GroupCommit
from models.workers.writes import Failure, Sending


@pytest.fixture
async def commit(ledger):
    open_budget(ledger, "b", 1.0)
    made = GroupCommit(ledger, "me", lease_s=60.0, resend=True, budget="b", freed=lambda: None)
    yield made
    await made.close()


def spec(name, usd=0.4):
    return CallSpec(name, "s", "w", "1", {}, usd)


async def test_what_is_to_be_sent_is_written_before_what_came_earlier_and_every_second_time_all(commit, monkeypatch):
    go, written = threading.Event(), []

    def write(items):
        assert go.wait(20)
        written.append([type(item) for item in items])
        return [True] * len(items)

    monkeypatch.setattr(commit, "_write", write)
    waiting = [asyncio.create_task(commit.fail(Failure("first", 1, "no")))]
    await asyncio.sleep(0)
    for later in (commit.fail(Failure("x", 1, "no")), commit.send("y", 1)):
        waiting.append(asyncio.create_task(later))
        await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*waiting)
    assert written == [[Failure], [Sending], [Failure]]


async def test_with_a_claim_that_is_refused_what_came_with_it_is_written(commit, ledger):
    await commit.claim(spec("a"))
    assert await commit.send("a", 1)
    for name in ("b", "c"):  # also while it is known to be full
        answers = commit.settle(Settlement("a", 1, "me", {}, 0.4, 0.0)), commit.claim(spec(name, 0.7))
        kept, refused = await asyncio.gather(*answers, return_exceptions=True)
        assert kept is True and isinstance(refused, BudgetExceeded)
    assert spend(ledger)["usd"] == 0.4
    assert (await commit.claim(spec("d", 0.6))).state == "mine"
