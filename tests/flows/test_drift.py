"""A real HTTP worker becomes worse under its name: a refresh with sentinels sees it, says so, and measures it anew."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from datetime import timedelta

import pytest
import yaml
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import flows.refresh_labels
import tasks.pages.drift
from flows.refresh_labels import refresh_labels
from models.errors import BadInput
from models.ledger import labels
from tasks.setup.settings import open_ledger
from tests.endpoint.conftest import running

SENTINELS = 48


class Sums:
    """Adds two numbers, wrongly with a chance that may change; `asked` counts."""

    def __init__(self):
        self.wrong, self.asked = 0.1, 0
        self.app = Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])

    async def chat(self, request):
        body = await request.json()
        self.asked += 1
        a, b = map(int, re.findall(r"\d+", body["messages"][-1]["content"]))
        luck = int(hashlib.sha256(f"{self.asked} {a}".encode()).hexdigest()[:8], 16) / 2**32
        message = {"role": "assistant", "content": str(a + b + (luck < self.wrong))}
        usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse({"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage})


@pytest.fixture
def watched(home, prefect_server, monkeypatch):
    """`refresh(**more)` of a pool of two workers, the upstream of the first, the events, and the ledger."""
    events, sums, steady = [], Sums(), Sums()
    monkeypatch.setattr(
        tasks.pages.drift, "emit_event", lambda event, resource, payload: events.append((event, payload))
    )
    monkeypatch.setattr(flows.refresh_labels, "WATCH", timedelta(0))  # each refresh is another night
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    asked = home / "asked.jsonl"
    sets = [{"question": f"What is {n} + {n + 7}?", "reference": 2 * n + 7} for n in range(150)]
    asked.write_text(
        "".join(json.dumps({"id": f"q{n}", "task": "sums", "grader": "number", **q}) + "\n" for n, q in enumerate(sets))
    )
    with running(sums.app) as first, running(steady.app) as second:
        price = {"input_per_million": 0, "output_per_million": 0}
        workers = [
            {
                "name": name,
                "model": "openai/m",
                "api_base": f"{url}/v1",
                "price": price,
                "revision": "1",
                "max_tokens": 50,
            }
            for name, url in (("drifter", first), ("steady", second))
        ]
        (home / "pool.yaml").write_text(yaml.safe_dump({"name": "two", "workers": workers}))
        ledger = open_ledger()

        def refresh(**more):
            return asyncio.run(refresh_labels(pool=str(home / "pool.yaml"), questions=str(asked), **more))

        yield refresh, sums, events, ledger
        ledger.close()


def test_a_fall_is_told_once_and_the_worker_measured_anew(watched):
    refresh, sums, events, ledger = watched
    assert refresh() == 300 and events == []
    assert refresh(sentinels=SENTINELS) == 2 * SENTINELS and events == []
    sums.wrong = 0.4
    for _ in range(2):
        assert refresh(sentinels=SENTINELS) == 2 * SENTINELS
    assert events == [("fugu.worker.fell", {"worker": "drifter"})]
    before = sums.asked
    assert refresh(again="drifter") == 150 and sums.asked == before + 150
    refresh(sentinels=SENTINELS)
    assert len(events) == 1
    frame = labels.labels(ledger, pool="two", workers={"drifter": "1", "steady": "1"})
    means = frame.groupby("worker")["score"].mean()
    assert len(frame) == 300 and means["drifter"] < 0.75 < means["steady"]


def test_a_refresh_that_was_cut_off_goes_on_with_the_same_sentinels(watched, monkeypatch):
    refresh, _, _, ledger = watched
    refresh()
    monkeypatch.setattr(flows.refresh_labels, "WATCH", timedelta(hours=1))
    with ledger.transaction() as connection:
        connection.exec_driver_sql("UPDATE epochs SET opened_at = '2020-01-01 00:00:00'")
        connection.exec_driver_sql("UPDATE attempts SET created_at = '2020-01-01 00:00:00'")
    assert refresh(sentinels=20) == 40 and refresh(sentinels=20) == 0 and refresh(sentinels=30) == 20
    with pytest.raises(BadInput, match="no worker 'nobody'"):
        refresh(again="nobody")


def test_money_that_does_not_suffice_is_spent_on_what_tells_most(watched, home, caplog):
    refresh, sums, _, ledger = watched
    refresh()
    pool = yaml.safe_load((home / "pool.yaml").read_text())
    for each in pool["workers"]:
        each |= {"revision": "2", "price": {"input_per_million": 10, "output_per_million": 10}, "max_tokens": 10}
    pool["workers"].append(pool["workers"][0] | {"name": "third"})
    (home / "pool.yaml").write_text(yaml.safe_dump(pool))
    before = sums.asked
    with caplog.at_level("WARNING"):
        done = refresh(max_usd=0.03)  # of 450 attempts at 0.00011 USD
    assert 0 < done < 450 and "The money is spent" in caplog.text and "attempts were left" in caplog.text
    workers = dict.fromkeys(("drifter", "steady", "third"), "2")
    frame = labels.labels(ledger, pool="two", workers=workers)
    assert 100 < len(frame) < 300 and sums.asked > before
    assert refresh(max_usd=1.0) == 450 - len(frame)
    assert len(labels.labels(ledger, pool="two", workers=workers)) == 450
