"""Lists of requests and sums of a day, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from models.errors import NotFound
from models.ledger.looking.latest import latest, spent_since
from models.ledger.looking.story import story
from models.ledger.requests import begin, record_request
from models.ledger.tables import calls, tries

NOW = datetime.now(UTC)


def write_call(ledger, id, worker, scope, at, *costs):
    """A call with a try for each cost; `None` failed."""
    owned = {"id": id, "scope": scope, "worker": worker, "revision": "1", "payload": {}, "status": "settled"}
    times = {"created_at": at, "updated_at": at, "lease_until": at}
    with ledger.transaction() as connection:
        connection.execute(calls.insert().values(**owned, **times, attempt=len(costs), owner="me"))
        for attempt, usd in enumerate(costs, 1):
            row = {"call_id": id, "attempt": attempt, "owner": "me", "status": "failed" if usd is None else "settled"}
            row |= {"worst_usd": 1.0, "cost_usd": usd, "seconds": 0.5, "started_at": at, "ended_at": at}
            connection.execute(tries.insert().values(**row, error="no" if usd is None else None))


def test_the_latest_come_first_without_their_texts(ledger):
    step = {"worker": "a", "margin": 0.5, "call_id": None}
    for number in range(3):
        row = {"id": f"r{number}", "model": "fugu", "status": 200, "seconds": 1.5, "cost_usd": 0.25, "steps": [step]}
        record_request(ledger, row)
    request = {"id": "r4", "messages": [{"role": "user", "content": "x"}], "chain": ["r3"]}
    with ledger.transaction() as connection:
        row = {"id": "r4", "model": "fugu-ultra", "status": "running", "request": request, "body": None}
        begin(ledger, row)(connection, ledger.now(connection))
    found = latest(ledger, 3)
    assert [line.id for line in found] == ["r4", "r2", "r1"]
    assert found[0].root == "r3" and found[0].figures["seconds"] is None and found[0].steps == ()
    assert found[1].root is None and list(found[1].steps) == [step]
    assert (str(found[1].figures["status"]), found[1].figures["cost_usd"]) == ("200", 0.25)
    assert [line.id for line in latest(ledger, 9, found[-1].at)] == ["r0"]


def test_a_days_money_is_summed_by_worker(ledger):
    write_call(ledger, "1", "a", "x", NOW, None, 0.25)
    write_call(ledger, "2", "a", "x", NOW, 0.5)
    write_call(ledger, "3", "b", "x", NOW, 2.0)
    write_call(ledger, "4", "b", "x", NOW - timedelta(days=2), 64.0)
    b, a = spent_since(ledger, NOW - timedelta(days=1))
    assert (b.worker, b.tries, b.failed, b.usd) == ("b", 1, 0, 2.0)
    assert (a.worker, a.tries, a.failed, a.usd, a.seconds) == ("a", 3, 1, 0.75, 0.5)


def test_a_story_has_the_calls_of_its_scope_and_each_try(ledger):
    record_request(ledger, {"id": "r", "model": "fugu", "status": 200, "seconds": 0.0, "steps": [{"call_id": "2"}]})
    write_call(ledger, "1", "a", "r", NOW - timedelta(seconds=9), None, 0.25)
    write_call(ledger, "2", "b", "elsewhere", NOW, 0.5)
    write_call(ledger, "3", "b", "another", NOW, 0.5)
    found = story(ledger, "r")
    assert [call.id for call in found.calls] == ["1", "2"] and found.began == found.calls[0].created_at
    assert [(one.attempt, one.status, one.error) for one in found.calls[0].tries] == [
        (1, "failed", "no"),
        (2, "settled", None),
    ]
    assert found.calls[0].cost_usd == pytest.approx(0.25) and found.call("2") is found.calls[1]
    with pytest.raises(NotFound, match="none"):
        story(ledger, "none")
