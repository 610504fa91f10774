"""`fugu resume`, `fugu replay` and `fugu show`: a request goes on from the ledger, the same again, and can be read."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from unittest import mock

import pytest
import yaml

from deployments.cli import main
from deployments.endpoint.wire.response import ULTRA, encode
from deployments.migrations import upgrade
from models.conductor.run.request import ConductRequest
from models.house.provider import COUNTER
from models.ledger.calls import CallSpec, Settlement, claim, settle
from models.ledger.requests import get_request
from models.ledger.store import Ledger
from models.ledger.tries import send
from tasks.batch import begin_request, end_request
from tasks.setup.settings import PROJECT, open_ledger, settings

PLAN = """
model_id = [0, 3, 0]
subtasks = ["What is 17 * 24 + 5?", "Count the letters of Prefect", "What is 17 * 24 + 5?"]
access_list = [[], [], ["all"]]
"""


@pytest.fixture
def home(tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "plan.txt").write_text(PLAN)
    variables = {
        "FUGU_HOME": str(home),
        "FUGU_CONDUCTOR": f"fixed:{home / 'plan.txt'}",
        "FUGU_LEASE_S": "1",
        COUNTER: str(home / "asked.jsonl"),
    }
    with mock.patch.dict(os.environ, variables):
        yield home


@pytest.fixture
def ledger(home: Path) -> Ledger:
    """With a request that somebody began and did not finish."""
    upgrade(settings().database)
    ledger = open_ledger()
    messages = ({"role": "user", "content": "What is 17 * 24 + 5?"},)
    begin_request(ledger, ConductRequest(id="r", messages=messages, allowed=("calc", "coder", "sage")))
    return ledger


def run(capfdbinary: pytest.CaptureFixture[bytes], *words: str) -> tuple[int, bytes, str]:
    with mock.patch.object(sys, "argv", ["fugu", *words]), pytest.raises(SystemExit) as stop:
        main()
    captured = capfdbinary.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err.decode()


@pytest.mark.parametrize("command", ["resume", "replay", "show"])
def test_an_unknown_request_and_one_without_a_workflow_are_one_clear_line(command, ledger, capfdbinary) -> None:
    status, _, err = run(capfdbinary, command, "none")
    assert (status, err) == (2, "fugu: no request 'none'\n")
    end_request(ledger, "r", {"request": None})
    status, _, err = run(capfdbinary, command, "r")
    assert status == 2 and err.count("\n") == 1 and "has no workflow" in err


def test_resume_answers_once_replay_gives_the_same_bytes_and_show_tells_it_all(home, ledger, capfdbinary) -> None:
    claim(ledger, [CallSpec("dead", "r/0", "calc", "1", {}, 0.5)], "a dead process", lease_s=0)
    send(ledger, [("dead", 1)], "a dead process", lease_s=0)
    claim(ledger, [CallSpec("waiting", "r/0", "calc", "1", {}, 0.5)], "a dead process", lease_s=0)
    status, out, err = run(capfdbinary, "resume", "r")
    assert status == 0 and b"Answer: 413" in out
    assert "maybe paid: dead try 1 of calc in r/0" in err and "waiting" not in err
    asked = (home / "asked.jsonl").read_text()
    assert asked.count("\n") == 3
    assert run(capfdbinary, "resume", "r")[:2] == (0, out)
    row = get_request(ledger, "r")
    assert row["status"] == "answered"
    assert run(capfdbinary, "replay", "r") == (0, encode(row["body"]) + b"\n", "")
    status, out, err = run(capfdbinary, "show", "r")
    for told in ("planned by fixed:", "step 2: coder, sees nothing", "subtask: Count the letters", "Answer: 413"):
        assert told in out.decode()
    assert "user: What is 17 * 24 + 5?" in out.decode() and "maybe paid" in err
    assert (home / "asked.jsonl").read_text() == asked


def test_show_tells_the_conductors_own_calls_and_when_each_was_made(home, ledger, capfdbinary, monkeypatch) -> None:
    """Also those that were paid for before their plan was kept, and those that may have been."""
    pool = yaml.safe_load((PROJECT / "data/pools/house.yaml").read_text())
    pool["conductors"] = [{"name": "boss", "model": "house/sage"}]
    (home / "pool.yaml").write_text(yaml.safe_dump(pool))
    monkeypatch.setenv("FUGU_POOL", str(home / "pool.yaml"))
    monkeypatch.setenv("FUGU_CONDUCTOR", "worker:boss")
    claim(ledger, [CallSpec("dead", "r/1", "boss", "1", {}, 0.5)], "a dead process", lease_s=0)
    send(ledger, [("dead", 1)], "a dead process", lease_s=0)
    reply = {"text": "hm", "usage": {"prompt_tokens": 1, "completion_tokens": 1}, "seconds": 0.1, "cost_usd": 0.25}
    payload = {"scope": "r/0/s0/0", "worker": "boss", "replicate": -1, "messages": []}
    assert run(capfdbinary, "resume", "r")[0] == 0
    [mine] = claim(ledger, [CallSpec("paid", "r/0/s0/0", "boss", "1", payload, 0.5)], "me")
    settle(ledger, [Settlement("paid", mine.attempt, "me", reply, 0.25, 0.1)])
    status, out, err = run(capfdbinary, "show", "r")
    told = out.decode()
    assert status == 0 and "maybe paid: dead try 1 of boss in r/1" in err
    assert told.count("written by the conductor:") == 3  # two for a plan that never was one, and the one without a plan
    assert "workflow  r/0/s0/0, no plan was kept" in told and "to boss, 20" in told and "$0.250000" in told
    assert "no valid plan" in told and re.search(
        r"planned by worker:boss, 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", told
    )


def test_a_replay_of_an_endpoints_request_is_its_final_body_and_a_changed_one_is_told(ledger, capfdbinary) -> None:
    end_request(ledger, "r", {"model": ULTRA})
    assert run(capfdbinary, "resume", "r")[0] == 0
    body = get_request(ledger, "r")["body"]
    status, out, _ = run(capfdbinary, "replay", "r")
    assert (status, out) == (0, encode(body) + b"\n")
    assert json.loads(out)["model"] == ULTRA
    with ledger.transaction() as connection:
        connection.exec_driver_sql("UPDATE requests SET body = replace(body, '413', '414')")
    status, _, err = run(capfdbinary, "replay", "r")
    assert status == 2 and "another body" in err
