"""`fugu status` names the workers that are not asked now: until when, with which key, and why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from answering import Limited, answering

from models.errors import RateLimited, UpstreamRefused
from models.ledger.kept.feedback import Feedback, put_feedback
from models.ledger.providers.breakers import close_breaker, open_breaker
from models.ledger.requests import record
from models.workers.ask import Ask
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool
from models.workers.retry import RetryPolicy
from tasks.setup.settings import open_ledger

UNTIL = r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


def not_asked(run) -> list[str]:
    status, out, err = run("status")
    assert status == 0, err
    return [line for line in out.splitlines() if line.startswith("not asked")]


def test_each_open_breaker_is_a_line_until_it_is_closed(run, cli_home: Path) -> None:
    assert not_asked(run) == []
    ledger = open_ledger()
    open_breaker(ledger, "calc", "", "UpstreamTimeout", 90.0)
    open_breaker(ledger, "sage", "SAGE_KEY", "its key is refused (status 401)", None)
    first, second = not_asked(run)
    assert re.fullmatch(rf"not asked calc {UNTIL}: UpstreamTimeout", first)
    assert second == (
        "not asked sage with SAGE_KEY until somebody acts (fugu pool check): its key is refused (status 401)"
    )
    close_breaker(ledger, "sage")
    assert len(not_asked(run)) == 1
    ledger.close()


async def test_what_a_worker_was_left_for_is_said_without_its_words(run, cli_home: Path, monkeypatch, tmp_path) -> None:
    assert not_asked(run) == []  # the ledger is there
    monkeypatch.setenv("DESK_KEY", "sk-desk")

    def busy(text: str) -> str:
        raise Limited("Rate limit reached for secret-org on tokens per minute. Please try again in 40s")

    def empty(text: str) -> str:
        raise Limited("You exceeded your current quota, secret-org")

    with answering({"busy": busy, "empty": empty}) as (url, _):
        shared = {"api_base": url, "price": {}, "key_env": "DESK_KEY"}
        workers = [{"name": name, "model": f"openai/{name}", **shared} for name in ("busy", "empty")]
        (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"workers": workers}))
        ledger, pool = open_ledger(), Pool.load(tmp_path / "pool.yaml")
        dispatcher = Dispatcher(ledger, pool, retry=RetryPolicy(tries=1))
        for name, error in (("busy", RateLimited), ("empty", UpstreamRefused)):
            with pytest.raises(error):
                await dispatcher.ask(
                    Ask(scope="s", worker=name, revision="1", messages=({"role": "user", "content": "hi"},))
                )
        await dispatcher.close()
        ledger.close()
    first, second = not_asked(run)
    assert re.fullmatch(rf"not asked busy with DESK_KEY {UNTIL}: RateLimited", first)
    acts = "until somebody acts (fugu pool check): its money or its quota is used up (status 402)"
    assert second == f"not asked empty with DESK_KEY {acts}"


def test_what_callers_said_is_a_line_for_each_worker_and_kind(run, cli_home: Path) -> None:
    assert run("status")[0] == 0  # the ledger is there
    ledger = open_ledger()
    with ledger.transaction() as connection:
        now = ledger.now(connection)
        for number, score in enumerate((1.0, 0.5)):
            id = f"chatcmpl-{number}"
            record({"id": id, "status": 200, "owner": None, "worker": "sage", "messages": []})(connection, now)
            assert put_feedback(ledger, Feedback(id, "opinion", score))(connection, now) is not None
    ledger.close()
    assert "said of    sage: 0.750 by 2 opinions" in run("status")[1].splitlines()
