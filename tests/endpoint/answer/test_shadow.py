"""A challenger decides beside the champion: what it would do is kept, and it asks, delays and changes nothing."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from deployments.commands.routers.shadow import report
from models.errors import BadInput, NotFound
from models.fugu.roles import Role
from models.ledger import registry
from models.ledger.requests import get_request, shadowed

TRACED = {"X-Fugu-Trace": "1"}
ECHO = [("echo", Role.SOLVER)]


@pytest.fixture
def challenged(house, router, ledger):
    """A house whose champion chooses echo, and a challenger that chooses count; the challenger's id."""
    served, _ = router(ECHO)
    other, made = router([("count", Role.SOLVER)], cost={"usd": [1.0] * 8, "per_usd": [0.0, 0.0]})
    id = other["fugu"]["checkpoint"]
    registry.promote(ledger, registry.SHADOW, {"kind": "router", "checkpoint": id}, "test")
    return house, served | {"routers": served["routers"] | other["routers"]}, made, id


def asked(here, text="hi", **more):
    body = {"model": "fugu", "messages": [{"role": "user", "content": text}], **more}
    answer = here.raw.post("/v1/chat/completions", json=body, headers=TRACED)
    assert answer.status_code == 200 and answer.headers["x-fugu-worker"] == "echo", answer.text
    return answer.headers["x-request-id"]


def noted(ledger, id):
    """What is kept of the challenger's choice; the row is written behind the answer."""
    with suppress(NotFound):
        return get_request(ledger, id).get("shadow")


def test_its_choices_are_kept_with_the_requests(challenged, ledger, upstream, until, caplog):
    caplog.set_level("INFO")
    house, options, made, id = challenged
    with house(**options) as here:
        until(lambda: asked(here) and shadowed(ledger, id))
        seen = len(upstream.seen)
        ids = [asked(here, "streamed", stream=True), asked(here, "whole")]
        until(lambda: all(noted(ledger, one) for one in ids))
        assert len(upstream.seen) == seen + 2 and {body["model"] for body in upstream.seen} == {"echo"}
        rows = [noted(ledger, one) for one in ids]
        assert {(row["worker"], row["champion"], row["checkpoint"]) for row in rows} == {("count", "echo", id)}
        assert rows[0]["margin"] == 0.5 and rows[0]["champion_margin"] == pytest.approx(0.5)
        only = asked(here, "only echo", fugu={"allowed_workers": ["echo"]})
        until(lambda: noted(ledger, only))
        assert noted(ledger, only)["worker"] == "echo"
        lines = report(shadowed(ledger, id))
        assert lines[0].startswith(f"{len(shadowed(ledger, id)):,} requests: the same worker for ")
        assert lines[-1].startswith("  echo -> count: ")
        registry.promote(ledger, registry.SHADOW, {"kind": "nobody"}, "off")
        until(lambda: "nobody decides in the shadow" in caplog.text)
        read = len(made.read)
        for _ in range(3):
            asked(here, "after")
        assert len(made.read) == read


def test_one_that_fails_or_is_slow_holds_nobody_up(challenged, ledger, until, caplog):
    house, options, made, id = challenged

    async def broken(messages, allowed=None):
        time.sleep(0.2)
        raise RuntimeError("no weights")

    made.decide = broken
    with house(**options) as here:
        until(lambda: asked(here) and "the challenger decides nothing: RuntimeError" in caplog.text)
    assert shadowed(ledger, id) == []


def test_nobody_and_unknown_checkpoints(ledger):
    with pytest.raises(BadInput):
        registry.promote(ledger, registry.SHADOW, {"kind": "nobody", "worker": "x"}, "test")
    assert report([]) == ["it has decided nothing yet"]
