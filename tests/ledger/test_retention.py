"""Texts of served requests go by age and by bytes; figures, labels and what is under way stay."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, insert, select, update

from models.errors import NotFound, Pruned
from models.ledger.accounts import maybe_paid, spend
from models.ledger.budgets import open_budget, remaining
from models.ledger.calls import CallSpec, Settlement, claim, fail, settle
from models.ledger.requests import finish, get_request, record_request
from models.ledger.retention import prune
from models.ledger.tables import calls, requests, steps, tool_calls, tries, workflows

MARK = "MARKER-4711"
DAY = timedelta(days=1)
MANY = 1 << 40


def paid(ledger, identity, scope, text=MARK, budget=None):
    spec = CallSpec(identity, scope, "ada", "1", {"messages": [{"role": "user", "content": text}]}, 0.5)
    claim(ledger, [spec], "me", budget=budget)
    settle(ledger, [Settlement(identity, 1, "me", {"text": text}, 0.25, 1.0)])
    return spec


def asked(ledger, id, status="answered", **more):
    texts = {"request": {"messages": [MARK]}, "body": {"text": MARK}, "trace": {"rounds": [MARK]}, "user": MARK}
    figures = {"cost_usd": 0.25, "prompt_tokens": 3, "worker": "ada", "created": 1}
    record_request(ledger, {"id": id, "model": "fugu-ultra", "status": status, **texts, **figures, **more})


def planned(ledger, request):
    now = datetime.now(UTC)
    name = f"{request}/0"
    with ledger.transaction() as connection:
        plan = {"id": name, "request": request, "conversation": MARK, "body": {"steps": [MARK]}, "created_at": now}
        connection.execute(insert(workflows).values(plan))
        step = {"workflow": name, "step": 0, "state": "done", "worker": "ada", "body": {"error": MARK}}
        connection.execute(insert(steps).values({**step, "updated_at": now}))
        words = dict.fromkeys(("original", "name", "arguments", "result"), MARK)
        call = {"id": f"call_{request}", "workflow": name, "step": 0, "conversation": MARK, **words}
        connection.execute(insert(tool_calls).values({**call, "created_at": now, "expires_at": now + DAY}))


def aged(ledger, days, *ids):
    """As if these had come so many days ago."""
    with ledger.transaction() as connection:
        for table in (calls, requests, workflows, tool_calls):
            then = ledger.now(connection) - timedelta(days=days)
            here = [table.c.id == id for id in ids] + [table.c.id.like(f"%{id}%") for id in ids]
            for condition in here:
                connection.execute(update(table).where(condition).values(created_at=then))


def holds(ledger, word=MARK):
    """Which tables hold the word."""
    found = []
    with ledger.reading() as connection:
        for table in (calls, tries, requests, workflows, steps, tool_calls):
            if any(word in repr(row) for row in connection.execute(select(table))):
                found.append(table.name)
    return found


def test_old_texts_go_and_figures_stay(ledger):
    open_budget(ledger, "mine", 10.0)
    paid(ledger, "old", "chatcmpl-old/0", budget="mine")
    claim(ledger, [CallSpec("bad", "chatcmpl-old/0", "ada", "1", {"messages": [MARK]})], "me")
    fail(ledger, "bad", 1, "me", f"refused: {MARK}", transient=False)
    asked(ledger, "chatcmpl-old")
    planned(ledger, "chatcmpl-old")
    aged(ledger, 31, "old", "bad")
    before = spend(ledger), remaining(ledger, "mine"), maybe_paid(ledger)
    found = prune(ledger, 30 * DAY, MANY)
    assert (found.calls, found.requests, found.workflows, found.tool_calls) == (2, 1, 1, 1) and found.bytes > 100
    assert holds(ledger) == []
    assert (spend(ledger), remaining(ledger, "mine"), maybe_paid(ledger)) == before
    with ledger.reading() as connection:
        row = connection.execute(select(requests.c.body)).scalar_one()
    assert (row["cost_usd"], row["prompt_tokens"], row["worker"], row["status"]) == (0.25, 3, "ada", "answered")
    with pytest.raises(Pruned, match="pruned on 20"):
        get_request(ledger, "chatcmpl-old")


def test_a_pruned_identity_is_not_paid_again(ledger):
    specs = [paid(ledger, "one", "chatcmpl-1"), CallSpec("two", "chatcmpl-1", "ada", "1", {"messages": [MARK]})]
    claim(ledger, specs[1:], "me")
    fail(ledger, "two", 1, "me", MARK, transient=True, maybe_paid=True)
    prune(ledger, timedelta(0), MANY)
    assert [found.state for found in claim(ledger, specs, "you")] == ["pruned", "pruned"]
    assert spend(ledger)["tries"] == 2


def test_labels_are_kept_whatever_their_age_and_bytes(ledger):
    paid(ledger, "label", "measure:1")
    aged(ledger, 1000, "label")
    found = prune(ledger, timedelta(0), 0)
    assert found.calls == 0 and holds(ledger) == ["calls"]


def test_the_oldest_go_first_where_there_are_too_many_bytes(ledger):
    for number in range(10):
        paid(ledger, f"c{number}x", f"chatcmpl-{number}", text="y" * 1000)
        aged(ledger, 10 - number, f"c{number}x")
    prune(ledger, 30 * DAY, 7000)
    with ledger.reading() as connection:
        kept = connection.execute(select(calls.c.id).where(calls.c.pruned_at.is_(None)).order_by(calls.c.id))
        assert kept.scalars().all() == ["c7x", "c8x", "c9x"]


def test_what_runs_and_what_it_continues_is_left_alone(ledger):
    asked(ledger, "first", status="awaiting-tools")
    planned(ledger, "first")
    paid(ledger, "c", "first/0")
    asked(ledger, "second", status="running", continues="first", body=None)
    assert prune(ledger, timedelta(0), 0).bytes == 0
    assert set(holds(ledger)) == {"calls", "requests", "workflows", "steps", "tool_calls"}
    with ledger.transaction() as connection:
        finish("second", {"status": "answered", "body": {}})(connection, ledger.now(connection))
    prune(ledger, timedelta(0), 0)
    assert holds(ledger) == []


def test_a_call_in_flight_is_left_alone_and_what_settles_late_goes_the_next_time(ledger):
    spec = CallSpec("flying", "chatcmpl-1", "ada", "1", {"messages": [MARK]})
    claim(ledger, [spec], "me")
    assert prune(ledger, timedelta(0), 0).calls == 0
    settle(ledger, [Settlement("flying", 1, "me", {"text": MARK}, 0.25, 1.0)])
    assert prune(ledger, timedelta(0), 0).calls == 1 and holds(ledger) == []


def test_a_dry_run_counts_the_same_and_drops_nothing(ledger):
    paid(ledger, "one", "chatcmpl-1")
    asked(ledger, "chatcmpl-1")
    told = prune(ledger, timedelta(0), 0, dry_run=True)
    assert holds(ledger) == ["calls", "requests"]
    assert (told.calls, told.requests) == (1, 1)
    done = prune(ledger, timedelta(0), 0)
    assert (done.calls, done.requests, done.bytes) == (told.calls, told.requests, told.bytes)
    assert prune(ledger, timedelta(0), 0).bytes == 0


def test_more_rows_than_a_transaction_takes(ledger):
    now = datetime.now(UTC)
    row = {"scope": "s", "worker": "ada", "revision": "1", "payload": {"m": MARK}, "status": "settled", "attempt": 1}
    row |= {"owner": "me", "lease_until": now, "reply": {"text": MARK}, "created_at": now, "updated_at": now}
    with ledger.transaction() as connection:
        connection.execute(insert(calls), [{**row, "id": f"{number}"} for number in range(950)])
    assert prune(ledger, timedelta(0), 0).calls == 950
    with ledger.reading() as connection:
        assert connection.execute(select(func.count()).where(calls.c.reply.is_not(None))).scalar_one() == 0


def test_nothing_is_left_in_sqlites_files_and_the_space_is_given_back(ledger, tmp_path):
    if not ledger.is_sqlite:
        pytest.skip("of SQLite")
    for number in range(50):
        paid(ledger, f"c{number}", f"chatcmpl-{number}", text=MARK * 1000)
        asked(ledger, f"chatcmpl-{number}", status="running")
        asked(ledger, f"chatcmpl-{number}")
    size = (tmp_path / "ledger.db").stat().st_size + (tmp_path / "ledger.db-wal").stat().st_size
    prune(ledger, timedelta(0), 0)
    files = list(tmp_path.glob("ledger.db*"))
    assert all(MARK.encode() not in file.read_bytes() for file in files)
    assert sum(file.stat().st_size for file in files) < size / 4


def test_others_write_while_it_prunes(ledger):
    """Transactions are short: a claim that comes meanwhile waits for one of them, not for all."""
    import threading

    for number in range(250):
        paid(ledger, f"c{number}", f"chatcmpl-{number}", text="y" * 2000)
    slowest, stop = [0.0], threading.Event()

    def others():
        number = 0
        while not stop.is_set():
            started = time.monotonic()
            paid(ledger, f"new{number}", "measure:1", text="z")
            slowest[0], number = max(slowest[0], time.monotonic() - started), number + 1

    thread = threading.Thread(target=others)
    thread.start()
    found = prune(ledger, timedelta(0), 0)
    stop.set()
    thread.join()
    assert found.calls == 250 and slowest[0] < 10


def test_unknown_requests_are_not_called_pruned(ledger):
    with pytest.raises(NotFound) as unknown:
        get_request(ledger, "nobody")
    assert not isinstance(unknown.value, Pruned)
