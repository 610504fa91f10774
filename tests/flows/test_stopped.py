"""A batch whose process is told to stop, or is killed: what was sent is settled, and a new run pays only the rest."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelling
from sqlalchemy import select

from models.ledger.tables import calls
from tasks.setup.settings import open_ledger

pytestmark = [pytest.mark.programs, pytest.mark.usefixtures("prefect_server")]

CODE = """
import asyncio, sys
from flows.conduct import conduct
print(asyncio.run(conduct(sys.argv[3:], pool=sys.argv[1], conductor=sys.argv[2], max_usd=1.0)))
"""


class Provider(ThreadingHTTPServer):
    """An OpenAI-compatible upstream. `free`: whether replies are given; `asked`: the last messages, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.free = threading.Event()
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(json.dumps(body["messages"]))
        self.server.free.wait(30)
        message = {"role": "assistant", "content": f"reply {len(body['messages'])}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        reply = {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
        sent = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def provider():
    provider = Provider()
    yield provider
    provider.free.set()
    provider.shutdown()
    provider.server_close()


@pytest.fixture
def start(home, provider):
    """Start a batch of two questions, each a chain of two steps, in a process of its own."""
    price = {"input_per_million": 1.0, "output_per_million": 1.0}
    worker = {"name": "w", "model": "openai/m", "api_base": f"http://127.0.0.1:{provider.server_port}/v1"}
    (home / "one.yaml").write_text(yaml.safe_dump({"workers": [worker | {"price": price}]}))
    (home / "plan.txt").write_text('model_id = [0, 0]\nsubtasks = ["x", "y"]\naccess_list = [[], [0]]')
    questions = [f"one {uuid4().hex}", f"two {uuid4().hex}"]
    environment = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value(), "FUGU_SHOW_TEXTS": "true"}
    started = []

    def begin() -> subprocess.Popen[str]:
        words = [sys.executable, "-c", CODE, str(home / "one.yaml"), f"fixed:{home / 'plan.txt'}", *questions]
        process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def until(reached, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)  # another process is waited for, which can only be looked at


async def the_run():
    async with get_client() as client:
        found = await client.read_flow_runs(sort="START_TIME_DESC", limit=20)
        return next(run for run in found if run.name.startswith("conduct fixed"))


def statuses() -> list[str]:
    ledger = open_ledger()
    with ledger.reading() as connection:
        found = connection.execute(select(calls.c.status)).scalars().all()
    ledger.close()
    return sorted(found)


@pytest.mark.parametrize("cancelled", [True, False])
def test_sigterm_lets_what_was_sent_be_settled_and_sends_nothing_new(start, provider, cancelled):
    process = start()
    until(lambda: len(provider.asked) == 2)
    run = asyncio.run(the_run())
    if cancelled:

        async def cancel() -> None:
            async with get_client() as client:
                await client.set_flow_run_state(run.id, Cancelling(), force=True)

        asyncio.run(cancel())
        time.sleep(1.5)  # Prefect's worker takes some 10 s; nothing tells that it was seen
    process.send_signal(signal.SIGTERM)
    time.sleep(1.0)  # longer than it takes to be heeded: that nothing is sent has no event
    provider.free.set()
    process.communicate(timeout=120)
    assert len(provider.asked) == 2 and statuses() == ["settled", "settled"]
    ended = asyncio.run(the_run())
    assert ended.id == run.id
    assert ended.state.is_cancelled() if cancelled else ended.state.is_crashed()


def test_after_sigkill_a_new_run_pays_only_what_is_missing(start, provider, monkeypatch):
    monkeypatch.setenv("FUGU_LEASE_S", "1")
    provider.free.set()
    process = start()
    until(lambda: "settled" in statuses())
    process.kill()
    process.communicate()
    settled = statuses().count("settled")
    lost = len(provider.asked) - settled
    out, _ = start().communicate(timeout=120)
    assert out.count("reply") == 2 and statuses() == ["settled"] * 4
    assert len(provider.asked) - lost <= 4
    counts = [provider.asked.count(asked) for asked in set(provider.asked)]
    assert sum(counts) - len(counts) <= lost


LABEL = """
import asyncio, sys
from flows.refresh_labels import refresh_labels
asyncio.run(refresh_labels(sys.argv[1], sys.argv[2], max_usd=1.0))
"""


async def test_sigterm_ends_a_flow_with_all_of_its_subflows(home, provider):
    price = {"input_per_million": 1.0, "output_per_million": 1.0}
    shared = {"model": "openai/m", "api_base": f"http://127.0.0.1:{provider.server_port}/v1", "price": price}
    workers = [{"name": name, **shared} for name in ("v", "w")]
    (home / "two.yaml").write_text(yaml.safe_dump({"workers": workers}))
    lines = [{"id": f"q{n}", "task": "t", "question": f"{n}?", "grader": "number", "reference": n} for n in range(6)]
    (home / "asked.jsonl").write_text("\n".join(map(json.dumps, lines)))
    environment = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value()}
    words = [sys.executable, "-c", LABEL, str(home / "two.yaml"), str(home / "asked.jsonl")]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    async def runs() -> list:
        async with get_client() as client:
            found = await client.read_flow_runs(sort="START_TIME_DESC", limit=20)
        return [run for run in found if run.name.startswith((f"refresh labels of {home}", "label v", "label w"))]

    try:
        await asyncio.to_thread(until, lambda: len(provider.asked) >= 4)
        process.send_signal(signal.SIGTERM)
        provider.free.set()
        await asyncio.to_thread(process.communicate, timeout=120)
    finally:
        process.kill()
    found = await runs()
    assert len(found) >= 2 and {run.state.type.value for run in found} == {"CRASHED"}
