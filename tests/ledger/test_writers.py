"""Eight processes write at the same time: every row is there, once, and none of them meets a lock."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from sqlalchemy import select

from models.ledger.budgets import open_budget, remaining
from models.ledger.tables import calls, requests, tries

WRITERS, ROUNDS = 8, 20


def test_eight_processes_that_write_at_once_lose_no_row_and_meet_no_lock(ledger):
    open_budget(ledger, "b", 100.0)
    command = [sys.executable, str(Path(__file__).with_name("writer.py")), ledger.url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, f"{n}", f"{ROUNDS}"], **pipes) for n in range(WRITERS)]
    try:
        assert {writer.stdout.readline() for writer in writers} == {f"{ledger.name}\n"}
        for writer in writers:
            writer.stdin.write("go\n")
            writer.stdin.flush()
        ends = [(*writer.communicate(timeout=120), writer.returncode) for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
    assert ends == [("", "", 0)] * WRITERS
    names = {f"{who}/{n}" for who in (*range(WRITERS), "all") for n in range(ROUNDS)}
    with ledger.reading() as connection:
        settled = connection.execute(select(calls.c.id, calls.c.reply).where(calls.c.status == "settled")).all()
        tried = connection.execute(select(tries.c.call_id, tries.c.attempt, tries.c.status)).all()
        recorded = Counter(connection.execute(select(requests.c.id)).scalars())
    assert {row.id for row in settled} == names and len(settled) == len(names)
    assert sorted(tried) == sorted((name, 1, "settled") for name in names)
    assert recorded == {name: 1 for name in names if not name.startswith("all")}
    money = remaining(ledger, "b")
    assert (money["reserved"], money["spent"]) == (0.0, round(0.004 * len(names), 9))
