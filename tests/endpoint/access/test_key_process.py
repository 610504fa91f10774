"""A key's life: made by the command, used with a started endpoint, listed and revoked by the command."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import openai
import pytest

from deployments.commands.access import keys
from deployments.endpoint.listening import is_loopback, listen
from deployments.migrations import upgrade
from models.errors import BadInput
from models.ledger import registry
from models.ledger.access.policy import Policy
from models.ledger.store import Ledger

QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]


@pytest.fixture
def home(tmp_path):
    """The environment of a home whose champions are the worker `calc`."""
    (tmp_path / "pool.yaml").write_text("workers: [{name: calc, model: house/calc, vendor: here}]")
    upgrade(url := f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger = Ledger(url)
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "worker", "worker": "calc"}, "test")
    ledger.close()
    return {**os.environ, "FUGU_HOME": str(tmp_path), "FUGU_POOL": str(tmp_path / "pool.yaml")}


@pytest.fixture
def fugu(home):
    """Runs the command; gives its exit status and what it says."""

    def run(*words):
        command = [Path(sys.executable).with_name("fugu"), *words]
        done = subprocess.run(command, env=home, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.programs
def test_a_keys_life(home, fugu, tmp_path, until):
    code, out, err = fugu("keys", "create", "ci", "--vendors", "here", "--day-usd", "2", "--requests-per-minute", "50")
    secret = out.strip()
    assert code == 0 and secret.startswith("fugu-") and "not shown again" in err
    log = (tmp_path / "log").open("w")
    # With a key it may listen off loopback; without one it does not start (below).
    command = [sys.executable, "-m", "deployments.endpoint", "--host", "0.0.0.0", "--port", "0", "--no-observe"]
    process = subprocess.Popen(command, env=home, stdout=subprocess.PIPE, stderr=log, text=True, cwd="/")
    try:
        port = json.loads(process.stdout.readline())["url"].rpartition(":")[2]
        url = f"http://127.0.0.1:{port}"
        until(lambda: httpx.get(f"{url}/readyz").status_code == 200, 60)
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0)
        answer = client.chat.completions.with_raw_response.create(model="fugu", messages=QUESTION)
        assert "42" in answer.parse().choices[0].message.content
        assert answer.headers["x-ratelimit-remaining-requests"] == "49"
        body = {"model": "fugu", "messages": QUESTION}
        statuses = [
            httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers).status_code
            for headers in ({"x-api-key": secret}, {}, {"x-api-key": secret, "Host": "evil.example"})
        ]
        assert statuses == [200, 401, 403]
        own = (tmp_path / "secret").read_text().strip()  # by which `fugu ask` comes in
        assert httpx.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {own}"}).status_code == 200
        assert fugu("keys", "revoke", "ci")[0] == 0
        began = time.monotonic()
        until(lambda: httpx.get(f"{url}/v1/models", headers={"x-api-key": secret}).status_code == 401, 5)
        assert time.monotonic() - began < 5
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    code, out, _ = fugu("keys", "list")
    assert (
        code == 0 and "ci  revoked" in out and "last used" in out and "vendors: here" in out and "day_usd: 2.0" in out
    )
    logged = (tmp_path / "log").read_text()
    requests = [json.loads(line) for line in logged.splitlines() if '"event": "request"' in line]
    assert {line["owner"] for line in requests} == {secret.split("-")[1]}
    for place in (out, logged, *(path.read_bytes().decode("latin-1") for path in tmp_path.glob("ledger.db*"))):
        assert secret not in place and secret.split("-", 2)[2] not in place


def test_a_worker_that_the_pool_lacks_is_no_policy(home, monkeypatch):
    monkeypatch.setenv("FUGU_POOL", home["FUGU_POOL"])
    for policy, lacking in ((Policy(workers=("nobody",)), "worker 'nobody'"), (Policy(regions=("x",)), "region 'x'")):
        with pytest.raises(BadInput, match=f"has no {lacking}"):
            keys._check_workers(policy)


def test_off_loopback_without_keys_nothing_listens():
    for host in ("0.0.0.0", "192.0.2.1"):
        with pytest.raises(BadInput, match=r"--host .* no API key: `fugu keys create NAME` makes one"):
            listen(host, 0)
    with listen("0.0.0.0", 0, has_keys=True) as everywhere, listen("127.0.0.1", 0) as here:
        assert isinstance(everywhere, socket.socket)
        assert (is_loopback(everywhere), is_loopback(here)) == (False, True)
