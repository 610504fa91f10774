"""What a run's page says: what happened and what to do next, also in the log that it opens with."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from prefect.client.orchestration import get_client
from sqlalchemy import update

from flows.cross_validate import cross_validate
from flows.prune import prune
from models.errors import Pruned
from models.ledger.requests import get_request, record_request
from models.ledger.tables import requests
from tasks.setup.scores import import_scores
from tasks.setup.settings import open_ledger


async def artifacts(kinds=("markdown", "table")):
    async with get_client() as client:
        return [one for one in await client.read_artifacts() if one.type in kinds]


@pytest.fixture
def ledger(home, prefect_server):
    ledger = open_ledger()
    yield ledger
    ledger.close()


def test_a_cross_validation_shows_its_verdict_and_not_what_each_fold_chose(ledger, tmp_path, home):
    rows = [
        {
            "id": str(i),
            "task": "ab"[i % 2],
            "question": f"{'sum' if i % 2 else 'word'} {i}",
            "scores": {"adder": float(i % 2), "speaker": float(not i % 2)},
        }
        for i in range(60)
    ]
    file = tmp_path / "scores.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = import_scores(file, "scores", ledger)
    before = {one.id for one in asyncio.run(artifacts())}
    line = asyncio.run(cross_validate(pool=found.pool, questions=str(found.questions), folds=2))
    mine = [one for one in asyncio.run(artifacts()) if one.id not in before]
    assert [one.key for one in mine] == ["cross-validation"]
    report = (home / "reports" / "cross-validation.md").read_text()
    assert report.startswith("A router that is learned from these labels ") and line in report
    assert "`warm-start/learn-router` learns one from all labels" in report


def test_pruning_says_how_much_of_what_and_how_to_keep_more(ledger, caplog):
    caplog.set_level("INFO")
    row = {"model": "fugu", "status": 200, "seconds": 0.25, "worker": "a", "error": None, "steps": []}
    messages = [{"role": "user", "content": "forget me"}]
    record_request(ledger, {**row, "id": "old", "request": {"messages": messages}})
    with ledger.transaction() as connection:
        old = datetime.now(UTC) - timedelta(days=90)
        connection.execute(update(requests).where(requests.c.id == "old").values(created_at=old))
    counted = asyncio.run(prune(dry_run=True))
    assert counted["requests"] == 1 and "requests (1) would lose their texts, " in caplog.text
    assert "forget me" in str(get_request(ledger, "old"))
    asyncio.run(prune())
    assert "requests (1) lost their texts, " in caplog.text and "`FUGU_KEEP_DAYS`" in caplog.text
    with pytest.raises(Pruned):
        get_request(ledger, "old")
    asyncio.run(prune())
    assert "Nothing is old enough: requests from before " in caplog.text
