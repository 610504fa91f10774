"""`python -m deployments.endpoint` as a supervisor sees it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from openai import OpenAI

from deployments.endpoint.listening import listen
from models.errors import BadInput
from models.ledger import registry
from models.ledger.store import Ledger

pytestmark = pytest.mark.programs

QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]


@pytest.fixture
def home(tmp_path, upstream_url) -> dict[str, str]:
    """The environment of a home whose champions are the worker `calc`."""
    remote = f"{{name: silent, model: openai/silent, api_base: {upstream_url}/v1, price: {{}}}}"
    (tmp_path / "pool.yaml").write_text(f"workers: [{{name: calc, model: house/calc}}, {remote}]")
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.create_schema()
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "worker", "worker": "calc"}, "test")
    ledger.close()
    return {**os.environ, "FUGU_HOME": str(tmp_path), "FUGU_POOL": str(tmp_path / "pool.yaml")}


def start(*arguments, environment=None):
    command = [sys.executable, "-m", "deployments.endpoint", *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
    )


def test_it_announces_itself_serves_and_finishes_its_answers_on_sigterm(home, tmp_path, upstream):
    announcement = tmp_path / "endpoint.json"
    process = start("--port", "0", "--announce", str(announcement), environment=home)
    try:
        said = json.loads(process.stdout.readline())
        assert said == json.loads(announcement.read_text()) and said["pid"] == process.pid
        deadline = time.monotonic() + 60
        with httpx.Client() as http:
            while http.get(said["url"] + "/readyz").status_code != 200:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.02)  # it is importing; questions in a row would slow it down
        with (
            OpenAI(base_url=said["url"] + "/v1", api_key="none", max_retries=0) as client,
            ThreadPoolExecutor() as pool,
        ):
            create = client.chat.completions.create
            for model in ("fugu", "trinity"):
                assert "42" in create(model=model, messages=QUESTION).choices[0].message.content
            slow = {"fugu": {"allowed_workers": ["silent"]}}
            under_way = pool.submit(create, model="fugu", messages=QUESTION, extra_body=slow)
            assert upstream.arrived.wait(10)
            process.send_signal(signal.SIGTERM)
            upstream.released.set()
            assert under_way.result().choices[0].message.content == "one two three"
        _, log = process.communicate(timeout=30)
    finally:
        process.kill()
    lines = [json.loads(line) for line in log.splitlines()]
    assert process.returncode == 0 and "17 + 25" not in log
    assert [line["status"] for line in lines if line["event"] == "request"] == [200] * 3


def test_it_answers_by_the_name_of_the_address_that_it_was_told_to_bind(home):
    process = start("--host", "127.0.0.2", "--port", "0", environment=home)
    try:
        url = json.loads(process.stdout.readline())["url"]
        assert "127.0.0.2" in url
        assert httpx.get(f"{url}/livez").status_code == 200
        assert httpx.get(f"{url}/livez", headers={"Host": "evil.example"}).status_code == 403
    finally:
        process.kill()
        process.communicate()


def test_a_strange_host_and_a_taken_port_are_one_clear_line():
    for host in ("0.0.0.0", "192.0.2.1"):
        with pytest.raises(BadInput, match="--host"):
            listen(host, 0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=rf"{port} is taken.*--port"):
            listen("127.0.0.1", port)


def test_a_broken_pool_file_is_one_clear_line(tmp_path):
    (tmp_path / "pool.yaml").write_text("workers: 3\n")
    environment = {**os.environ, "FUGU_HOME": str(tmp_path), "FUGU_POOL": str(tmp_path / "pool.yaml")}
    process = start("--port", "0", environment=environment)
    said, complaint = process.communicate(timeout=30)
    assert process.returncode == 2 and said == ""
    assert len(complaint.splitlines()) == 1 and "pool.yaml" in complaint
