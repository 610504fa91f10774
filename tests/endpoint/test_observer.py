"""Conducted requests in Prefect: shown beside the answers, never in their way, and never left running."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

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
from tasks.setup.settings import settings

BODY = {"model": "fugu-ultra", "messages": [{"role": "user", "content": "where is canary?"}]}


class Asked:
    """What would be a request run, which has ended unless it is said to go on."""

    def __init__(self, name: str, ended: bool = True) -> None:
        self.name, self._ended, self.end = name, ended, lambda: None

    def when_over(self, call) -> None:
        self.end = call
        if self._ended:
            call()


class Stage:
    """What would be Prefect: who is shown, how many at once, and until when."""

    def __init__(self) -> None:
        self.up, self.now, self.most = True, 0, 0
        self.shown: list[str] = []
        self.over = asyncio.Event()

    async def show(self, request_run: Asked, created: object) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.over.wait()
            if request_run.name == "broken":
                raise RuntimeError("broken")
            self.shown.append(request_run.name)
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
            await asyncio.sleep(0.01)  # what is reached is any condition


async def test_only_some_begin_at_once_and_all_are_shown(monkeypatch, serving):
    stage = Stage()
    async with observing(stage, monkeypatch, serving) as observer:
        for name in "abcde":
            observer.watch(Asked(name))
        await until(lambda: stage.now == 2)
        stage.over.set()
        await until(lambda: len(stage.shown) == 5)
    assert stage.most == 2


async def test_runs_that_last_let_others_begin(monkeypatch, serving):
    monkeypatch.setattr(observers, "HELD_S", 0.05)
    stage = Stage()
    async with observing(stage, monkeypatch, serving) as observer:
        for name in "abcde":
            observer.watch(Asked(name))
        await until(lambda: stage.now == 5)
        stage.over.set()
    assert stage.most == 5


async def test_requests_are_shown_when_none_is_under_way_and_later_all_the_same(monkeypatch, serving):
    stage, first, second = Stage(), Asked("first", ended=False), Asked("second", ended=False)
    stage.over.set()
    async with observing(stage, monkeypatch, serving) as observer:
        observer.watch(first)
        observer.watch(second)
        first.end()
        await asyncio.sleep(0.3)  # that nothing is shown has no event
        assert stage.shown == []
        second.end()
        await until(lambda: stage.shown == ["first", "second"])
        monkeypatch.setattr(observers, "LATER_S", 0.05)
        observer.watch(Asked("third", ended=False))
        await until(lambda: stage.shown == ["first", "second", "third"])


async def test_a_server_that_is_down_is_told_of_once_and_what_waited_is_shown_when_it_is_back(
    monkeypatch, serving, caplog
):
    stage = Stage()
    stage.up = False
    stage.over.set()
    async with observing(stage, monkeypatch, serving) as observer:
        observer.watch(Asked("a"))
        await asyncio.sleep(0.3)  # it asks again some times; that nothing is shown has no event
        assert stage.shown == []
        stage.up = True
        await until(lambda: stage.shown == ["a"])
    assert sum("does not answer" in record.message for record in caplog.records) == 1


async def test_a_run_that_breaks_is_told_of_and_the_next_one_is_shown(monkeypatch, serving, caplog):
    stage = Stage()
    stage.over.set()
    async with observing(stage, monkeypatch, serving) as observer:
        for name in ("broken", "a"):
            observer.watch(Asked(name))
        await until(lambda: stage.shown == ["a"])
    assert sum("not shown: RuntimeError" in record.message for record in caplog.records) == 1
    assert not any("broken" in record.message for record in caplog.records)


async def test_without_a_server_nothing_is_imported_and_the_log_says_so(caplog):
    observer = Observer(1, None, lambda id: None)
    await observer.start()
    observer.watch(Asked("a"))
    await observer.close()
    assert [record.message for record in caplog.records if "not shown" in record.message]


def test_a_process_is_known_from_others_by_more_than_its_number():
    host, pid, started = own_mark().rsplit(" ", 2)
    assert not is_dead(own_mark())
    assert is_dead(f"{host} {pid} {int(started) - 9}") and is_dead(f"{host} 99999999 {started}")
    assert not is_dead(f"elsewhere {pid} 1")


@pytest.fixture(scope="module")
def prefect(tmp_path_factory, prefect_database):
    """The folder of a real Prefect server, and the variables of its clients; all tests share it, each with its own
    endpoints."""
    folder = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as patch:
        _no_variables(patch)
        patch.setenv("FUGU_HOME", str(folder))
        url = f"http://127.0.0.1:{(port := server.free_port('127.0.0.1', 0, '--prefect-port'))}"
        environment = server.environment(settings(), url)
    (folder / "prefect").mkdir(exist_ok=True)  # the certificate of its clients may be there
    shutil.copy(prefect_database, folder / "prefect" / "prefect.db")
    command = [sys.executable, "-m", *server.command(port)]
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(server.Server(url, secret(folder)).healthy, 120)
        yield folder, {name: value for name, value in environment.items() if name.startswith("PREFECT_")}
    finally:
        running.kill()
        running.wait()


def _no_variables(patch):
    for name in [name for name in os.environ if name.startswith(("FUGU_", "PREFECT_"))]:
        patch.delenv(name)


@pytest.fixture
def home(tmp_path, upstream_url, prefect, monkeypatch):
    """The environment of an endpoint with a plan of two steps, whose runs the server shows."""
    from models.ledger import registry
    from models.ledger.store import Ledger

    _no_variables(monkeypatch)
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
    _, clients = prefect
    return server.environment(settings(), clients["PREFECT_API_URL"].removesuffix("/api")) | clients


@pytest.fixture
def shown(home):
    """`shown("flow_runs")`, `shown("artifacts")`: what the server has of this test."""

    def ask(what):
        sort = {"flow_runs": "START_TIME_ASC", "artifacts": "CREATED_DESC"}[what]
        return http.post(f"{home['PREFECT_API_URL']}/{what}/filter", json={"sort": sort}).raise_for_status().json()

    with httpx.Client(headers=server.credentials(home["PREFECT_API_AUTH_STRING"]), timeout=60) as http:
        others = {what: {one["id"] for one in ask(what)} for what in ("flow_runs", "artifacts")}
        yield lambda what: [one for one in ask(what) if one["id"] not in others[what]]


def wait(reached, seconds=60):
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.2)  # other processes are waited for, which can only be asked: each time costs them work


def start(environment):
    command = [sys.executable, "-m", "deployments.endpoint", "--port", "0"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
    )
    url = json.loads(process.stdout.readline())["url"]
    with httpx.Client() as http:
        wait(lambda: http.get(f"{url}/readyz").json()["conductor"])
    return process, url


@pytest.mark.programs
def test_a_request_is_a_flow_run_and_that_of_a_killed_endpoint_has_crashed(home, shown, upstream):
    def runs():
        return [run["state"]["type"] for run in shown("flow_runs")]

    def send(url, key="one"):
        headers = {"Idempotency-Key": key}
        return httpx.post(f"{url}/v1/chat/completions", json=BODY, headers=headers, timeout=60)

    def cancel(number):
        _set_cancelling(home, shown("flow_runs")[number])

    process, url = start(home)
    try:
        with ThreadPoolExecutor(2) as threads:
            cut = [threads.submit(send, url)]
            wait(lambda: runs() == ["RUNNING"] and len(upstream.seen) == 2)
            cut.append(threads.submit(send, url, "two"))
            wait(lambda: runs() == ["RUNNING"] * 2 and len(upstream.seen) == 4)
            process.send_signal(signal.SIGKILL)
            for one in cut:
                with pytest.raises(httpx.HTTPError):
                    one.result()
        process.communicate()
        cancel(1)  # while nobody is there to heed it
        process, url = start(home)
        wait(lambda: runs() == ["CRASHED", "CANCELLED"])
        with ThreadPoolExecutor(1) as thread:  # SIGTERM while a flow run is under way, in the same process
            stopped = thread.submit(send, url)
            wait(lambda: runs() == ["CRASHED", "CANCELLED", "RUNNING"] and len(upstream.seen) == 5)
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=30)
            with suppress(httpx.HTTPError):
                stopped.result()
        assert process.returncode == 0 and "canary" not in log
        wait(lambda: runs() == ["CRASHED", "CANCELLED", "CANCELLED"])
        process, url = start(home)
        with ThreadPoolExecutor(2) as threads:  # both keys have a flow run that was cancelled, which says nothing now
            again = threads.submit(send, url)
            wait(lambda: runs()[3:] == ["RUNNING"] and len(upstream.seen) == 6)
            cancelled = threads.submit(send, url, "two")
            wait(lambda: runs()[3:] == ["RUNNING"] * 2 and len(upstream.seen) == 7)
            cancel(4)  # somebody does in Prefect
            assert (reply := cancelled.result()).status_code == 499 and "cancelled" in reply.text
            wait(lambda: runs()[3:] == ["RUNNING", "CANCELLED"])
            assert not again.done()
            upstream.released.set()
            assert again.result().status_code == 200
        assert send(url, "two").status_code == 200  # in the same process
        wait(lambda: runs()[3:] == ["COMPLETED", "CANCELLED", "COMPLETED"])
        assert all(run["name"].startswith("chatcmpl-") for run in shown("flow_runs"))
        assert all({"fugu-ultra", run["name"]} <= set(run["tags"]) for run in shown("flow_runs"))
        last = shown("flow_runs")[-1]
        pages = [page for page in shown("artifacts") if page["flow_run_id"] == last["id"] and page["key"]]
        assert [f"]({url}/requests/{last['name']})" in page["data"] for page in pages] == [True]
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0 and "canary" not in log


def _set_cancelling(home, run):
    """As `prefect flow-run cancel` does."""
    url = f"{home['PREFECT_API_URL']}/flow_runs/{run['id']}/set_state"
    body = {"state": {"type": "CANCELLING"}, "force": True}
    httpx.post(url, json=body, headers=server.credentials(home["PREFECT_API_AUTH_STRING"])).raise_for_status()


MARKER, WORKER_KEY, CALLER_KEY = "marker-4711-zebra", "key-of-a-worker-4712", "key-of-a-caller-4713"

CONDUCT = """
import asyncio, sys
from flows.conduct import conduct
for what in (sys.argv[1], [sys.argv[2]]):
    try:
        print(asyncio.run(conduct(what, pool=sys.argv[3], conductor=sys.argv[4], max_usd=1.0)))
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.mark.programs
def test_prefect_and_the_logs_hold_no_word_of_anybody_unless_they_are_to(
    home, shown, prefect, upstream, upstream_url, tmp_path
):
    worker = "{{name: {0}, model: openai/{0}, api_base: {1}/v1, key_env: MARKED, price: {{}}}}"
    people = [worker.format(name, upstream_url) for name in ("ada", "e400")]
    (tmp_path / "people.yaml").write_text(f"workers: [{', '.join(people)}]")
    (tmp_path / "marked.txt").write_text(f'model_id = [0]\nsubtasks = ["do {MARKER}"]\naccess_list = [[]]')
    (tmp_path / "asked.jsonl").write_text(json.dumps({"question": f"where is {MARKER}?"}))
    there = {"FUGU_POOL": f"{tmp_path}/people.yaml", "FUGU_CONDUCTOR": f"fixed:{tmp_path}/marked.txt"}
    environment = {**home, **there, "MARKED": WORKER_KEY}
    keys = {"Authorization": f"Bearer {CALLER_KEY}", "x-api-key": CALLER_KEY}

    def ask(url, **more):
        body = {"model": "fugu-ultra", "messages": [{"role": "user", "content": f"where is {MARKER}?"}], **more}
        return httpx.post(f"{url}/v1/chat/completions", json={**body, "user": MARKER}, headers=keys, timeout=60)

    def ended(count):
        runs = [run for run in shown("flow_runs") if run["state"]["type"] in ("COMPLETED", "FAILED")]
        return len(runs) == count

    def batches(file, question):
        words = [sys.executable, "-c", CONDUCT, file, question, *there.values()]
        return subprocess.run(words, env=environment, capture_output=True, text=True, cwd="/", timeout=120)

    process, url = start(environment)
    assert MARKER in ask(url).text
    assert ask(url, fugu={"allowed_workers": ["e400"]}).status_code in (400, 502)
    done = batches(f"{tmp_path}/asked.jsonl", f"where is {MARKER}?")
    answered, _, refused = done.stdout.rpartition("BadInput")
    assert MARKER in answered and "FUGU_SHOW_TEXTS" in refused and MARKER not in done.stderr
    wait(lambda: ended(5))  # two requests; conduct, and its one question; conduct, refused
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)
    words = (MARKER.encode(), b"secret of e400", WORKER_KEY.encode(), CALLER_KEY.encode())
    kept = [path for path in (prefect[0] / "prefect").rglob("*") if path.is_file()]
    assert any(path.name == "prefect.db" for path in kept)
    assert [path for path in kept for word in words if word in path.read_bytes()] == []
    assert [word for word in words if word.decode() in log] == []
    assert MARKER not in _pictures(shown("artifacts"))

    process, url = start({**environment, "FUGU_SHOW_TEXTS": "true"})
    ask(url)
    wait(lambda: ended(6))
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)
    assert any(MARKER in run["name"] for run in shown("flow_runs"))
    assert any(MARKER in str(page["data"]) for page in shown("artifacts")) and MARKER in _pictures(shown("artifacts"))


def _pictures(artifacts):
    """What is drawn on the pages."""
    found = [encoded for page in artifacts for encoded in re.findall(r"base64,([A-Za-z0-9+/=]+)", str(page["data"]))]
    return " ".join(base64.b64decode(encoded).decode() for encoded in found)
