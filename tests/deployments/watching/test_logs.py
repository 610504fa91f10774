"""`fugu logs`: all that the ledger knows of a request, in order, and its words only where they are asked for."""

from __future__ import annotations

import re

import pytest

from deployments.migrations import upgrade
from models.conductor.run.request import ConductRequest
from models.ledger.calls import CallSpec, claim, fail
from models.ledger.requests import record_request
from tasks.batch import begin_request
from tasks.setup.settings import open_ledger, settings

PLAN = 'model_id = [0, 3]\nsubtasks = ["What is 17 * 24 + 5?", "Count its digits"]\naccess_list = [[], ["all"]]'
QUESTION = "What is 17 * 24 + 5?"


@pytest.fixture
def ledger(cli_home, monkeypatch):
    cli_home.mkdir()
    (cli_home / "plan.txt").write_text(PLAN)
    monkeypatch.setenv("FUGU_CONDUCTOR", f"fixed:{cli_home / 'plan.txt'}")
    upgrade(settings().database)
    ledger = open_ledger()
    yield ledger
    ledger.close()


def test_a_conducted_request_is_told_from_its_plan_to_its_end(ledger, run):
    messages = ({"role": "user", "content": QUESTION},)
    begin_request(ledger, ConductRequest(id="r", messages=messages, allowed=("calc", "coder", "sage")))
    claim(ledger, [CallSpec("dead", "r/0", "calc", "1", {"messages": []}, 0.5)], "me")
    fail(ledger, "dead", 1, "me", "\x1b[31mit said 42", transient=True)
    assert run("resume", "r")[0] == 0
    status, out, _ = run("logs", "--request", "r")
    assert status == 0 and QUESTION not in out and "413" not in out and "it said" not in out
    lines = [line for line in out.splitlines() if re.match(r"\d{4}-", line)]
    times = [line.split("  ")[0] for line in lines]  # several things happen in one millisecond
    assert times == sorted(times) and lines[0].endswith("request r to conduct")
    assert "call dead to calc, try 1: failed, its cost is not known" in out
    assert "plan r/0 by fixed" in out and "step 2: coder, sees 1: done" in out
    assert len(re.findall(r"try 1: settled after \d+\.\d\d s, \d+ \+ \d+ tokens, \$0\.000000", out)) == 2
    told = run("logs", "--request", "r", "--texts")[1]
    assert QUESTION in told and "413" in told and "subtask: Count its digits" in told
    assert "error: �[31mit said 42" in told and "\x1b" not in told


def test_a_routed_request_is_told_with_its_margins_and_the_last_ones_are_listed(ledger, run):
    steps = [
        {"worker": "calc", "role": None, "margin": 0.25, "kept": False, "error": "RateLimited", "call_id": None},
        {"worker": "sage", "role": "SOLVER", "margin": -0.5, "kept": True, "error": None, "call_id": None},
    ]
    row = {"id": "x", "model": "fugu", "status": 200, "seconds": 0.25, "worker": "sage", "steps": steps}
    record_request(ledger, {**row, "error": None, "trace_id": "0af7"})
    out = run("logs", "--request", "x")[1]
    assert "decided: calc, margin +0.2500: RateLimited" in out and "trace      0af7" in out
    assert "decided: sage as SOLVER, margin -0.5000, which had the conversation" in out
    assert "ended: 200 after 0.25 s, answered by sage" in out
    assert "x  fugu: 200 after 0.25 s, worker sage" in run("logs")[1]


def test_an_unknown_request_is_one_clear_line(ledger, run):
    assert run("logs", "--request", "nope") == (2, "", "fugu: no request 'nope'\n")
