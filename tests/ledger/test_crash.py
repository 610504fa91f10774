"""Four real processes claim, pay and settle the same calls and are killed while they do."""

import fcntl
import os
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, update

from models.ledger.accounts import maybe_paid, spend
from models.ledger.budgets import open_budget, remaining
from models.ledger.tables import calls, tries

pytestmark = pytest.mark.programs

CALLS, KILLS, EVERY = 180, 4, 20
PIPE_BYTES = 4096
"""Contenders cannot run ahead of the reader by more than that: most calls are still open at the last kill."""


class Arena:
    """Starts contenders, kills the one that has just paid, and reads what they tell."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.read, self.write = os.pipe()
        fcntl.fcntl(self.write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.alive = {}
        self.started = 0
        self.doomed = []

    def start(self):
        command = [sys.executable, str(Path(__file__).with_name("contender.py"))]
        command += [self.ledger.url, str(self.started), str(CALLS)]
        process = subprocess.Popen(command, stdout=self.write, env={**os.environ, "PYTHONPATH": os.getcwd()})
        self.alive[str(process.pid)] = process
        self.started += 1

    def kill(self, pid):
        """SIGKILL; the dead process's leases run out at once.

        What is settled now must never be paid again, in no line behind the marker. The pipe may be full, and only
        the reader, who calls this, empties it: the marker waits in a thread of its own.
        """
        process = self.alive.pop(pid)
        process.kill()
        process.wait()
        with self.ledger.transaction() as connection:
            where = calls.c.owner == pid, calls.c.status.in_(["claimed", "sent"])
            connection.execute(update(calls).where(*where).values(lease_until=datetime.now(UTC)))
        with self.ledger.reading() as connection:
            self.doomed.append(set(connection.execute(select(calls.c.id).where(calls.c.status == "settled")).scalars()))
        marker = f"marker {len(self.doomed) - 1} 0 -\n".encode()
        threading.Thread(target=os.write, args=(self.write, marker), daemon=True).start()

    def lines(self):
        with os.fdopen(self.read) as pipe:
            while self.alive:
                yield pipe.readline().split()


def test_no_settled_call_is_paid_again_whoever_dies(ledger):
    open_budget(ledger, "b", 100.0)
    arena = Arena(ledger)
    for _ in range(4):
        arena.start()
    paid, settled, never_again = Counter(), set(), set()
    for word, name, attempt, pid in arena.lines():
        assert word != "failed" or pid not in arena.alive
        if word == "paid":
            assert name not in settled and name not in never_again
            paid[name, int(attempt)] += 1
            kills = len(arena.doomed)
            if kills < KILLS and sum(paid.values()) >= EVERY * (kills + 1) and pid in arena.alive:
                arena.kill(pid)
                arena.start()
        elif word == "settled":
            settled.add(name)
        elif word == "marker":
            never_again |= arena.doomed[int(name)]
        elif word == "done" and pid in arena.alive:
            assert arena.alive.pop(pid).wait() == 0
    os.close(arena.write)
    assert len(arena.doomed) == KILLS
    _accounts_are_exact(ledger, paid)


def _accounts_are_exact(ledger, paid):
    with ledger.reading() as connection:
        rows = connection.execute(select(tries.c.call_id, tries.c.attempt, tries.c.status)).all()
    status = {(row.call_id, row.attempt): row.status for row in rows}
    assert set(paid.values()) == {1}  # a try is paid at most once
    assert set(paid) <= set(status)  # and only after its row was there
    assert {row for row, word in status.items() if word == "settled"} <= set(paid)
    account = spend(ledger)
    assert (account["calls"], account["settled"]) == (CALLS, CALLS)
    waiting = sum(word == "failed" for word in status.values())  # claimed ahead, and never sent
    assert account["tries"] == CALLS + account["maybe_paid"] + waiting == len(status)
    assert 0 < len(maybe_paid(ledger)) <= KILLS and waiting <= 4 * KILLS  # of a batch of five, one is on the wire
    left = remaining(ledger, "b")
    assert left["reserved"] == 0.0
    assert left["spent"] == round(0.004 * CALLS + 0.01 * account["maybe_paid"], 9)
