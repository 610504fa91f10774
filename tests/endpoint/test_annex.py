"""Large requests are answered by another process, with this one's decisions, and cost the small ones nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import suppress
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from deployments.endpoint.annex import LIGHT, Annex, Room, weight
from deployments.endpoint.app import create_app
from deployments.endpoint.parts import Options, open_parts
from deployments.endpoint.wire.problems import Problem
from models.errors import NotFound
from models.ledger import registry
from models.ledger.requests import get_request
from models.ledger.store import Ledger

pytestmark = pytest.mark.programs

COMMAND = [sys.executable, "-m", "deployments.endpoint", "--no-observe", "--annex"]
LARGE = "what is it? " * 30_000
MOST = 5_000


class Router:
    """As a micro-batcher over a router: it decides for the worker whose place the text's last character is."""

    workers, roles, released = ("echo", "silent", "stall"), False, None

    def __init__(self):
        self.read: list[str] = []
        self.router = SimpleNamespace(backbone=SimpleNamespace(reader=SimpleNamespace(most_chars=MOST)))

    async def logits(self, texts):
        self.read += texts
        return np.array([[float(text.endswith(str(place))) for place in range(3)] for text in texts], np.float32)

    async def decide(self, messages, allowed=None):
        return SimpleNamespace(worker="echo", worker_index=0, role=None, margin=0.5, worker_logits=np.zeros(3))


@pytest.fixture(scope="module")
def served(serving, _upstream, tmp_path_factory):
    """An endpoint in this process whose annex is a real one, started when it is needed."""
    home, router = tmp_path_factory.mktemp("home"), Router()
    worker = "{{name: {0}, model: openai/{0}, api_base: {1}/v1, price: {{}}}}"
    (home / "pool.yaml").write_text(f"workers: [{', '.join(worker.format(n, _upstream[1]) for n in router.workers)}]")
    ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
    ledger.create_schema()
    checkpoint = registry.save_checkpoint(ledger, name="x", vector=np.zeros(1, np.float32), meta={})
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "router", "checkpoint": checkpoint}, "test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUGU_HOME", str(home))
        patch.setenv("FUGU_POOL", str(home / "pool.yaml"))
        patch.setenv("FUGU_MAX_BODY_BYTES", "2000000")
        parts, options = open_parts(lambda id: router), Options(poll_s=0.02, max_body_bytes=2_000_000, eager=False)
        annex = Annex(COMMAND, parts.load_router, Room(total=4_000_000, body=2_000_000, patience_s=0.5))
        app = create_app(parts, options, annex)
        with serving(app) as url, httpx.Client(base_url=url, timeout=60) as client:
            until = time.monotonic() + 60
            while client.get("/readyz").status_code != 200:
                assert time.monotonic() < until
                time.sleep(0.02)  # the endpoint's readiness can only be asked for
            yield SimpleNamespace(url=url, client=client, annex=annex, router=router, ledger=ledger)
    ledger.close()
    assert annex._running is None  # it has ended with the endpoint


def body(text, **fields):
    return {"model": "fugu", "messages": [{"role": "user", "content": text}], **fields}


def recorded(served, id):
    """No answer waits for its row."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with suppress(NotFound):
            return get_request(served.ledger, id)
        time.sleep(0.01)  # the row appears without a word
    raise AssertionError(id)


def ask(served, text, **fields):
    return served.client.post("/v1/chat/completions", json=body(text, **fields), headers={"X-Fugu-Trace": "1"})


def test_what_a_body_costs_grows_with_its_bytes_its_messages_and_its_values():
    assert weight(json.dumps(body("What is 17 + 25?")).encode()) < LIGHT / 100
    assert weight(json.dumps(body("x" * 300_000)).encode()) > LIGHT
    assert weight(json.dumps(body("x", logit_bias=dict.fromkeys(map(str, range(5000)), 1))).encode()) > LIGHT
    assert weight(json.dumps({"messages": [{"role": "user", "content": "x"}] * 500}).encode()) > LIGHT


def test_a_client_that_leaves_while_the_annex_starts_leaves_the_start_to_the_next_one(served, upstream):
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{served.url}/v1/chat/completions", json=body(LARGE), timeout=0.5)
    assert ask(served, f"{LARGE}0").status_code == 200 and len(upstream.seen) == 1


def test_a_large_request_is_answered_by_another_process_and_decided_by_this_ones_router(served, upstream):
    answer = ask(served, f"{LARGE}0")
    assert answer.json()["choices"][0]["message"]["content"] == "one two three"
    assert answer.headers["X-Fugu-Worker"] == "echo" and answer.json()["fugu"]["worker"] == "echo"
    assert served.annex._running.process.pid != os.getpid()
    read = served.router.read[-1]
    assert len(read) <= MOST and read.startswith("user: what is it?") and read.endswith("it? 0")
    assert upstream.seen[-1]["messages"] == [{"role": "user", "content": f"{LARGE}0"}]
    assert recorded(served, answer.headers["X-Request-Id"])["worker"] == "echo"


def test_a_large_request_is_streamed_as_it_comes(served, upstream):
    lines = []
    with served.client.stream("POST", "/v1/chat/completions", json=body(f"{LARGE}2", stream=True)) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            lines.append(line)
            if '"one "' in line:
                upstream.released.set()  # only now comes the rest
    assert lines[-2] == "data: [DONE]" and any('"three"' in line for line in lines)


def test_what_is_wrong_with_a_large_request_is_told_as_of_a_small_one(served):
    wrong = ask(served, LARGE, temperature=7)
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "temperature"
    chunks = served.client.post(
        "/v1/chat/completions", content=iter([b"{" * 300_000]), headers={"Content-Type": "application/json"}
    )
    assert chunks.status_code == 400 and "JSON" in chunks.json()["error"]["message"]
    large = ask(served, "x" * 2_000_000)
    assert large.status_code == 413
    many = ask(served, "x", logit_bias=dict.fromkeys(map(str, range(20_000)), 1))
    assert many.status_code == 400 and many.json()["error"]["param"] == "logit_bias"


def test_small_requests_are_answered_while_a_large_one_is_under_way_and_its_client_may_leave(served, upstream):
    with httpx.Client(base_url=served.url, timeout=60) as client:

        async def leave():
            async with httpx.AsyncClient(base_url=served.url, timeout=60) as large:
                waiting = asyncio.ensure_future(large.post("/v1/chat/completions", json=body(f"{LARGE}1")))
                assert await asyncio.to_thread(upstream.arrived.wait, 30)
                assert client.post("/v1/chat/completions", json=body("and small?")).status_code == 200
                assert not waiting.done()
                waiting.cancel()

        asyncio.run(leave())
    assert upstream.gone.wait(20) and upstream.left["silent"] == 1


def test_a_large_response_in_the_background_keeps_the_annex_until_it_is_answered(served, upstream):
    asked = {"model": "fugu", "input": f"{LARGE}1", "background": True}
    begun = served.client.post("/v1/responses", json=asked).json()
    assert upstream.arrived.wait(30)
    path = f"/v1/responses/{begun['id']}"
    assert served.client.get(path).json()["status"] == "in_progress"

    async def rest():
        served.annex._rest()  # as its timer does, when no large request has come for long
        await served.annex._ending

    asyncio.run_coroutine_threadsafe(rest(), served.annex._running.decisions.get_loop()).result(20)
    assert served.annex._running is not None
    upstream.released.set()
    events = served.client.get(path, params={"stream": "true"}).text
    assert events.rstrip().splitlines()[-2] == "event: response.completed"
    assert served.client.get(path).json()["output"][0]["content"][0]["text"] == "one two three"


def test_an_annex_that_dies_fails_what_is_under_way_in_it_and_the_next_request_has_a_new_one(served, upstream):
    async def die():
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as large:
            waiting = asyncio.ensure_future(large.post("/v1/chat/completions", json=body(f"{LARGE}1")))
            assert await asyncio.to_thread(upstream.arrived.wait, 30)
            os.kill(served.annex._running.process.pid, signal.SIGKILL)
            return await waiting

    failed = asyncio.run(die())
    assert failed.status_code == 502 and failed.json()["error"]["code"] == "internal_error"
    assert ask(served, f"{LARGE}0").status_code == 200


async def test_large_requests_wait_for_room_and_an_idle_annex_ends():
    annex = Annex([sys.executable, "-c", "input()"], Router, Room(total=100, body=100, patience_s=0.05, idle_s=0.0))
    async with annex._place(60), annex._place(40):
        with pytest.raises(Problem) as refused:
            async with annex._place(1):
                pass
        assert refused.value.status == 503 and refused.value.headers["Retry-After"] == "1"
    async with annex._place(1_000):  # alone, whatever its size
        pass
    while annex._ending is None:
        await asyncio.sleep(0)  # a field is waited for, which says nothing
    await annex._ending
    await annex.close()
