"""Conducted requests in Prefect: shown beside the answers, never in their way, and never left running."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED, temporary_settings
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from deployments import server
from deployments.endpoint import observer as observers
from deployments.endpoint.observer import Observer
from deployments.endpoint.orphans import is_dead, own_mark
from deployments.home import secret
from tasks.settings import settings

BODY = {"model": "fugu-ultra", "messages": [{"role": "user", "content": "where is canary?"}]}
KEY = {"Idempotency-Key": "one"}


class Stage:
    """What would be Prefect: who is shown, how many at once, and until when."""

    def __init__(self) -> None:
        self.up, self.now, self.most = True, 0, 0
        self.shown: list[str] = []
        self.over = asyncio.Event()

    async def show(self, conducting: str) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.over.wait()
            if conducting == "broken":
                raise RuntimeError("broken")
            self.shown.append(conducting)
        finally:
            self.now -= 1

    async def health(self, request: object) -> JSONResponse:
        return JSONResponse(True, 200 if self.up else 503)


@asynccontextmanager
async def observing(stage, monkeypatch, running, at_once=2):
    async def nobody(*of: object) -> int:
        return 0

    monkeypatch.setattr(observers, "_load", lambda: stage.show)
    monkeypatch.setattr(observers, "end_orphans", nobody)
    monkeypatch.setattr(observers, "PAUSE_S", 0.05)
    app = Starlette(routes=[Route("/api/health", stage.health)])
    with running(app) as url:
        named = {PREFECT_API_URL: f"{url}/api", PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False}
        with temporary_settings(named):
            observer = Observer(at_once, f"{url}/api", lambda id: None)
            await observer.start()
            yield observer
            await observer.close()


async def until(reached):
    async with asyncio.timeout(10):
        while not reached():
            await asyncio.sleep(0.01)


async def test_only_some_begin_at_once_and_all_are_shown(monkeypatch, serving):
    stage = Stage()
    async with observing(stage, monkeypatch, serving) as observer:
        for name in "abcde":
            observer.watch(name)
        await until(lambda: stage.now == 2)
        stage.over.set()
        await until(lambda: len(stage.shown) == 5)
    assert stage.most == 2


async def test_runs_that_last_let_others_begin(monkeypatch, serving):
    monkeypatch.setattr(observers, "HELD_S", 0.05)
    stage = Stage()
    async with observing(stage, monkeypatch, serving) as observer:
        for name in "abcde":
            observer.watch(name)
        await until(lambda: stage.now == 5)
        stage.over.set()


async def test_a_server_that_is_down_is_told_of_once_and_what_waited_is_shown_when_it_is_back(
    monkeypatch, serving, caplog
):
    stage = Stage()
    stage.up = False
    stage.over.set()
    async with observing(stage, monkeypatch, serving) as observer:
        observer.watch("a")
        await asyncio.sleep(0.3)
        assert stage.shown == []
        stage.up = True
        await until(lambda: stage.shown == ["a"])
    assert sum("does not answer" in record.message for record in caplog.records) == 1


async def test_a_run_that_breaks_is_told_of_and_the_next_one_is_shown(monkeypatch, serving, caplog):
    stage = Stage()
    stage.over.set()
    async with observing(stage, monkeypatch, serving) as observer:
        for name in ("broken", "a"):
            observer.watch(name)
        await until(lambda: stage.shown == ["a"])
    assert sum("RuntimeError: broken" in record.message for record in caplog.records) == 1


async def test_without_a_server_nothing_is_imported_and_the_log_says_so(caplog):
    observer = Observer(1, None, lambda id: None)
    await observer.start()
    observer.watch("a")
    await observer.close()
    assert [record.message for record in caplog.records if "not shown" in record.message]


def test_a_process_is_known_from_others_by_more_than_its_number():
    host, pid, started = own_mark().rsplit(" ", 2)
    assert not is_dead(own_mark())
    assert is_dead(f"{host} {pid} {int(started) - 9}") and is_dead(f"{host} 99999999 {started}")
    assert not is_dead(f"elsewhere {pid} 1")


@pytest.fixture
def home(tmp_path, upstream_url, monkeypatch):
    """A real Prefect server's clients: their environment, which is that of an endpoint with a plan of two steps."""
    from models.ledger import registry
    from models.ledger.store import Ledger

    for name in [name for name in os.environ if name.startswith(("FUGU_", "PREFECT_"))]:
        monkeypatch.delenv(name)
    people = [f"{{name: {n}, model: openai/{n}, api_base: {upstream_url}/v1, price: {{}}}}" for n in ("ada", "silent")]
    (tmp_path / "pool.yaml").write_text(f"workers: [{', '.join(people)}]")
    (tmp_path / "plan.txt").write_text('model_id = [0, 1]\nsubtasks = ["a", "b"]\naccess_list = [[], ["all"]]')
    mine = {"HOME": "", "POOL": "/pool.yaml", "CONDUCTOR": "/plan.txt"}
    for name, path in mine.items():
        monkeypatch.setenv(f"FUGU_{name}", ("fixed:" if name == "CONDUCTOR" else "") + str(tmp_path) + path)
    monkeypatch.setenv("FUGU_LEASE_S", "1")
    ledger = Ledger(settings().database)
    ledger.create_schema()
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "worker", "worker": "ada"}, "test")
    ledger.close()
    port = server.free_port("127.0.0.1", 0, "--prefect-port")
    environment = server.environment(settings(), f"http://127.0.0.1:{port}")
    command = [sys.executable, "-m", *server.command(port)]
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(lambda: server.Server(f"http://127.0.0.1:{port}", secret(tmp_path)).healthy(), 120)
        yield environment
    finally:
        running.kill()
        running.wait()


def wait(reached, seconds=60):
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def start(environment):
    command = [sys.executable, "-m", "deployments.endpoint", "--port", "0"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
    )
    url = json.loads(process.stdout.readline())["url"]
    wait(lambda: httpx.get(f"{url}/readyz").json()["conductor"])
    return process, url


def test_a_request_is_a_flow_run_and_that_of_a_killed_endpoint_has_crashed(home, upstream):
    def runs():
        key = server.credentials(home["PREFECT_API_AUTH_STRING"])
        url = f"{home['PREFECT_API_URL']}/flow_runs/filter"
        found = httpx.post(url, json={"sort": "START_TIME_ASC"}, headers=key).json()
        return [(run["name"], run["state"]["type"]) for run in found]

    def send(url):
        return httpx.post(f"{url}/v1/chat/completions", json=BODY, headers=KEY, timeout=60)

    process, url = start(home)
    try:
        with ThreadPoolExecutor(1) as thread:
            cut = thread.submit(send, url)
            wait(lambda: runs() == [("where is canary?", "RUNNING")] and len(upstream.seen) == 2)
            process.send_signal(signal.SIGKILL)
            with pytest.raises(httpx.HTTPError):
                cut.result()
        process.communicate()
        process, url = start(home)
        wait(lambda: runs() == [("where is canary?", "CRASHED")])
        upstream.released.set()
        assert send(url).status_code == 200
        wait(lambda: [state for _, state in runs()] == ["CRASHED", "COMPLETED"])
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0 and "canary" not in log
