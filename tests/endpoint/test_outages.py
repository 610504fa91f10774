"""What an endpoint answers while its ledger's database is away."""

import sqlite3
import threading

import pytest
from sqlalchemy import event

from models.ledger.accounts import maybe_paid, spend
from models.ledger.requests import get_request

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def away(ledger):
    """A list of one word: what every statement fails with."""
    reason = [""]

    @event.listens_for(ledger.engine, "before_cursor_execute")
    def fail(*_):
        if reason[0]:
            raise sqlite3.OperationalError(reason[0])

    return reason


@pytest.mark.parametrize("model", ["fugu", "trinity", "fugu-ultra"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_database_that_is_down_before_the_call_is_a_503_with_retry_after_and_nothing_is_paid(
    house, plan, upstream, away, model, streamed
):
    with house(fugu={"kind": "worker", "worker": "echo"}, plan=plan(("echo", "answer", []))) as here:
        away[0] = "disk I/O error"
        body = {"model": model, "messages": HELLO, "stream": streamed}
        refused = here.raw.post("/v1/chat/completions", json=body)
        assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == "ledger_away" and upstream.seen == []
        assert here.raw.get("/readyz").status_code == 503 and here.raw.get("/livez").status_code == 200
        away[0] = ""
        assert here.raw.post("/v1/chat/completions", json=body).status_code == 200
        assert here.raw.get("/readyz").status_code == 200


def test_a_full_disk_is_not_ready(house, away):
    with house(fugu={"kind": "worker", "worker": "echo"}) as here:
        away[0] = "database or disk is full"
        assert here.raw.get("/readyz").json()["ledger"] is False
        away[0] = ""


@pytest.mark.parametrize("model", ["fugu", "trinity", "fugu-ultra"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_reply_that_was_paid_for_is_answered_while_the_database_is_away_and_kept_when_it_is_back(
    house, plan, upstream, away, ledger, model, streamed
):
    with house(fugu={"kind": "worker", "worker": "silent"}, plan=plan(("silent", "answer", []))) as here:
        found = {}

        def ask():
            body = {"model": model, "messages": HELLO, "stream": streamed}
            found["answer"] = here.raw.post("/v1/chat/completions", json=body)

        asking = threading.Thread(target=ask)
        asking.start()
        assert upstream.arrived.wait(20)
        away[0] = "disk I/O error"
        upstream.released.set()
        asking.join()
        assert found["answer"].status_code == 200 and "error" not in found["answer"].text
        assert "one" in found["answer"].text and "three" in found["answer"].text
        away[0] = ""
    assert len(upstream.seen) == 1 and maybe_paid(ledger) == []
    assert spend(ledger)["settled"] == 1
    assert get_request(ledger, found["answer"].headers["x-request-id"])["model"] == model
