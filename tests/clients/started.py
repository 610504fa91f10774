"""A scripted upstream and an endpoint before it, both processes on loopback, for clients to be tried on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
READY_S = 120.0

KEY = "sk-a-clients-key"
"""What the clients send as their key; an endpoint on loopback without keys asks for none."""


@contextmanager
def started(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a client's process: FUGU_BASE_URL (with /v1), FUGU_ROOT_URL (without) and FUGU_API_KEY, and
    FUGU_UPSTREAM_URL, whose /seen lists the bodies that the worker got. `folder`: for the endpoint's home."""
    with process([sys.executable, str(HERE / "upstream.py")], folder / "upstream.log", {}) as upstream:
        worker = {"name": "ada", "model": "openai/ada", "api_base": f"{upstream}/v1", "price": {}, "context": 200_000}
        pool = folder / "pool.yaml"
        pool.write_text(json.dumps({"name": "clients", "workers": [worker]}))  # JSON is YAML
        home = {"FUGU_HOME": str(folder / "home"), "FUGU_POOL": str(pool)}
        promoted = subprocess.run([sys.executable, "-c", PROMOTE], env=_own(home), capture_output=True, text=True)
        assert promoted.returncode == 0, promoted.stderr
        command = [sys.executable, "-m", "deployments.endpoint", "--port", "0"]
        with process(command, folder / "endpoint.log", home) as url:
            deadline = time.monotonic() + READY_S
            while not ((ready := httpx.get(f"{url}/readyz")).status_code == 200 and ready.json()["conductor"]):
                assert time.monotonic() < deadline, ready.text
                time.sleep(0.1)  # its readiness can only be asked for
            mine = {"FUGU_BASE_URL": f"{url}/v1", "FUGU_ROOT_URL": url, "FUGU_API_KEY": KEY}
            kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
            yield {**kept, **mine, "FUGU_UPSTREAM_URL": upstream, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


PROMOTE = """
from deployments.migrations import upgrade
from models.ledger import registry
from tasks.setup.settings import open_ledger, settings
ledger = open_ledger()
ledger.create_schema()
for model in ("fugu", "trinity"):
    registry.promote(ledger, model, {"kind": "worker", "worker": "ada"}, "clients")
ledger.close()
"""


def _own(more: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FUGU_", "PREFECT_"))}
    return {**kept, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "OMP_NUM_THREADS": "1", **more}


@contextmanager
def process(command: list[str], log: Path, more: dict[str, str]) -> Iterator[str]:
    """Start it in the project's folder; gives the `url` of the JSON line that it prints first."""
    with log.open("w") as errors:
        running = subprocess.Popen(
            command, cwd=PROJECT, env=_own(more), stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert running.stdout is not None
    try:
        line = running.stdout.readline()
        assert line.startswith("{"), log.read_text()[-2000:]
        yield json.loads(line)["url"]
    finally:
        running.terminate()
        running.wait(30)
