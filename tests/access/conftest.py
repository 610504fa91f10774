"""A real endpoint process in a home of its own, with keys that the real command makes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import httpx
import pytest
import yaml

from deployments.migrations import upgrade
from models.ledger import registry
from models.ledger.store import Ledger

WORKERS = {"dear": 1000.0, "mid": 100.0, "free": None}
"""Workers and the price of a million of their tokens, USD."""


class Model(BaseHTTPRequestHandler):
    """Says who it is. Counts its calls by model, and holds those for which `hold` is unset."""

    protocol_version = "HTTP/1.1"
    seen: list[str]
    hold: threading.Event

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(body["model"])
        self.hold.wait(30)
        choice = {"index": 0, "message": {"role": "assistant", "content": body["model"]}, "finish_reason": "stop"}
        used = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        whole = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": used}
        kind, said = "application/json", json.dumps(whole).encode()
        if body.get("stream"):
            delta = {**choice, "delta": choice["message"]}
            kind, said = (
                "text/event-stream",
                f"data: {json.dumps({**whole, 'choices': [delta]})}\n\ndata: [DONE]\n\n".encode(),
            )
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *words):
        pass


@pytest.fixture(scope="session")
def _model():
    handler = type("Own", (Model,), {"seen": [], "hold": threading.Event()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


@pytest.fixture
def model(_model):
    """The upstream of all workers: `seen`, and `hold`, which is set."""
    handler, _ = _model
    handler.seen.clear()
    handler.hold.set()
    return handler


def entries(base):
    place = {
        "dear": {"vendor": "acme", "region": "us"},
        "mid": {"vendor": "beta", "region": "eu"},
        "free": {"local": True},
    }
    for name, price in WORKERS.items():
        entry = {"name": name, "model": f"openai/{name}", "api_base": base, "max_tokens": 100, **place[name]}
        entry["limits"] = {"concurrency": 64}
        yield entry if price is None else entry | {"price": {"input_per_million": price, "output_per_million": price}}


@pytest.fixture(scope="module")
def home(tmp_path_factory, _model):
    """A home in which `dear` answers: `fugu(...)` runs the command, `serve()` an endpoint process."""
    folder = tmp_path_factory.mktemp("home")
    pool = folder / "pool.yaml"
    pool.write_text(yaml.safe_dump({"name": "p", "workers": list(entries(_model[1]))}))
    environment = {**os.environ, "FUGU_HOME": str(folder), "FUGU_POOL": str(pool), "FUGU_LEASE_S": "5"}
    upgrade(url := f"sqlite:///{folder}/ledger.db")
    ledger = Ledger(url)
    for name in ("fugu", "trinity"):
        registry.promote(ledger, name, {"kind": "worker", "worker": "dear"}, "test")

    def fugu(*words):
        done = subprocess.run(
            [sys.executable, "-m", "deployments", *words], env=environment, capture_output=True, text=True
        )
        return SimpleNamespace(code=done.returncode, out=done.stdout.strip(), err=done.stderr.strip())

    @contextmanager
    def serve(*words):
        announced = folder / "announced.json"
        announced.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "deployments.endpoint",
            "--port",
            "0",
            "--announce",
            str(announced),
            "--no-observe",
        ]
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen([*command, *words], env=environment, stderr=log, stdout=subprocess.DEVNULL)
        try:
            until(lambda: announced.exists() or process.poll() is not None)
            url = json.loads(announced.read_text())["url"]
            until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)

    yield SimpleNamespace(folder=folder, ledger=ledger, fugu=fugu, serve=serve)
    ledger.close()


def until(reached, seconds=60):
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # another process is waited for, which can only be asked
