"""`trinity` in the started endpoint: a router that was fitted to solve, verify and revise, over real HTTP workers."""

from __future__ import annotations

import json
import os

import httpx
import numpy as np
import pytest
from started_endpoint import endpoint

from models.fugu import transcript
from models.fugu import vector as vectors
from models.fugu.decision import Decision
from models.fugu.forward.backbone import Backbone
from models.fugu.learn import schedule
from models.fugu.loop import LoopOptions, Observe, loop
from models.fugu.roles import Role
from models.fugu.router import Router
from models.house import backbone as house_backbone
from models.ledger import registry
from models.ledger.store import Ledger

pytestmark = pytest.mark.programs

QUESTION = [{"role": "user", "content": "What is -2 - 2?"}]
OBJECTION = "REJECT The sign is wrong: a negative less a positive is negative."
SOLVED = "one two three"  # what the upstream's `echo` says
SCHEDULE = (Role.SOLVER, Role.VERIFIER)
RECIPE = house_backbone.Recipe(layers=2, width=64, heads=2, key_value_heads=1, inner=64, vocabulary=512, lines=64)


def read(replies: list[str]) -> list[tuple[str, Role]]:
    """What the router reads before each turn of `SCHEDULE`, and the role that is next."""
    steps, texts = loop(QUESTION, 1, LoopOptions(turns=len(replies) + 1)), []
    event = next(steps)
    for turn, reply in enumerate(replies):
        assert isinstance(event, Observe)
        texts.append((transcript.text(event.messages), SCHEDULE[turn % 2]))
        steps.send(Decision("echo", 0, SCHEDULE[turn % 2], np.zeros(1), None, 0.0, 0.0))
        event = steps.send(reply)
    return texts


@pytest.fixture
def home(tmp_path, upstream_url):
    """The environment of a home whose `trinity` is a router with the roles of `SCHEDULE` on what it reads here."""
    backbone = Backbone.load(house_backbone.make(tmp_path, RECIPE), device="cpu")
    states = read([SOLVED, OBJECTION] * 2 + [SOLVED])
    roles = schedule.fit_rows(backbone.features([text for text, _ in states]), [role for _, role in states])
    head = np.concatenate([np.zeros((1, backbone.width), np.float32), roles])
    router = Router(backbone, vectors.join(np.zeros(0), head), ["echo"], layout="head")
    worker = f"{{name: echo, model: openai/echo, api_base: {upstream_url}/v1, price: {{}}}}"
    (tmp_path / "pool.yaml").write_text(f"workers: [{worker}]")
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.create_schema()
    meta = router.meta | {"backbone": str(backbone.folder.relative_to(tmp_path))}
    checkpoint = registry.save_checkpoint(ledger, name="fitted", vector=router.vector, meta=meta)
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "router", "checkpoint": checkpoint}, "test")
    ledger.close()
    return {**os.environ, "FUGU_HOME": str(tmp_path), "FUGU_POOL": str(tmp_path / "pool.yaml")}


def test_an_objection_stands_in_the_next_solvers_prompt_and_at_k_the_trace_says_not_accepted(home, upstream):
    upstream.scripts["You are the VERIFIER"] = OBJECTION
    with endpoint(home) as url:
        body = {"model": "trinity", "messages": QUESTION}
        asked = httpx.post(f"{url}/v1/chat/completions", json=body, headers={"X-Fugu-Trace": "1"}, timeout=30)
        rejected = asked.json()
        upstream.scripts["You are the VERIFIER"] = "ACCEPT"
        accepted = httpx.post(f"{url}/v1/chat/completions", json=body, headers={"X-Fugu-Trace": "1"}, timeout=30).json()
    solver, verifier, again, *_ = [seen["messages"] for seen in upstream.seen]
    assert solver[1:] == QUESTION
    assert verifier[-2]["content"] == SOLVED and OBJECTION not in str(verifier)
    label, shown, _ = again[-3:]
    assert label == {"role": "user", "content": "A verifier's objection to thought 0:"}
    assert shown == {"role": "assistant", "content": OBJECTION}
    # The worker says the same again, which was rejected: it is asked to revise until the budget is spent.
    roles = [step["role"] for step in rejected["fugu"]["steps"]]
    assert roles == ["SOLVER", "VERIFIER", "SOLVER", "SOLVER", "SOLVER"]
    assert rejected["choices"][0]["message"]["content"] == SOLVED and rejected["fugu"]["accepted"] is False
    assert len({json.dumps(seen["messages"]) for seen in upstream.seen[:5]}) == 5
    assert accepted["fugu"]["accepted"] is True
    assert [step["role"] for step in accepted["fugu"]["steps"]] == ["SOLVER", "VERIFIER"]
