"""kill -9 of the endpoint, the pool's worker and the Prefect server: is anything that was settled paid again?

A tree of five steps for each cell (who is killed; before, during or after which step). The provider counts each call,
on disk before its reply leaves, and holds the cell's call where the kill is to meet it; the five cells of one victim
and moment are in flight together when it dies. Then the same request comes again (from a dead Prefect server the
endpoint needs none: there the first one has to be answered). The rival, `restarted.py`, carries the same steps out
without a ledger; it is killed at the same moments and steps, and started again.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import restarted
import upstream
import yaml
from reporting import report
from restarted import ACCESS
from sqlalchemy import select

from deployments import provision, server
from deployments.home import secret
from deployments.migrations import upgrade
from deployments.server import Run, Server
from models.errors import UpstreamUnavailable
from models.ledger import registry
from models.ledger.store import Ledger
from models.ledger.tables import calls, requests
from tasks.setup.settings import open_ledger, settings

VICTIMS = ("endpoint", "worker", "server")
MOMENTS = ("before", "during", "after")
STEPS = len(ACCESS)
READY_S = 180.0

Paid = tuple[str, int]
"""A cell's question, and the step that was paid for."""


@dataclass
class Till:
    """The provider. The question of a cell, "victim moment step", says where its call is held."""

    counter: Path
    paid: list[Paid] = field(default_factory=list)
    reached: set[str] = field(default_factory=set)
    killed: dict[str, asyncio.Event] = field(default_factory=dict)

    async def answer(self, body: dict[str, Any]) -> upstream.Answer:
        messages = body["messages"]
        question, step = messages[0]["content"], int(messages[-1]["content"].split(",")[0].split()[1]) - 1
        victim, moment, number = question.split()
        killed = self.killed[f"{victim} {moment}"]
        if moment == "after" and step > int(number):
            await killed.wait()
        if (moment, int(number)) == ("before", step):
            self.reached.add(question)
            await killed.wait()
        upstream.count(str(self.counter), f"{question}: {step}")
        self.paid.append((question, step))
        if (moment, int(number)) == ("during", step):
            self.reached.add(question)
            await killed.wait()
        return f"reply {step}"


class Processes:
    """The endpoint, the pool's worker and the Prefect server, by name; each can be killed with all below it."""

    def __init__(self, home: Path) -> None:
        self.home, self._running = home, dict[str, subprocess.Popen[bytes]]()
        port = server.free_port("127.0.0.1", 0, "--prefect-port")
        self.prefect = Server(f"http://127.0.0.1:{port}", secret(settings().home))
        self.environment = server.environment(settings(), self.prefect.url)
        endpoint = ["deployments.endpoint", "--port", "0", "--announce", str(home / "endpoint.json")]
        self._commands = {
            "server": server.command(port),
            "worker": provision.worker("cpu"),
            "endpoint": endpoint,
            "provision": ["deployments.provision", str(home / "prefect.yaml")],
        }

    def start(self, name: str) -> subprocess.Popen[bytes]:
        with (self.home / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", *self._commands[name]]
            running = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=self.home)
        self._running[name] = running
        return running

    def kill(self, name: str) -> None:
        running = self._running.pop(name)
        with suppress(psutil.NoSuchProcess):
            doomed = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
            for process in doomed:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        running.wait()

    def close(self) -> None:
        for name in list(self._running):
            self.kill(name)

    async def ready(self, name: str) -> None:
        """Start it, and wait until it does its work."""
        (self.home / "endpoint.json").unlink(missing_ok=True) if name == "endpoint" else None
        self.start(name)
        await until({"server": self.prefect.healthy, "endpoint": self._conducts, "worker": lambda: True}[name])

    def _conducts(self) -> bool:
        with suppress(OSError, ValueError, httpx.TransportError):
            reply = httpx.get(f"{self.url}/readyz", timeout=5)
            return reply.status_code == 200 and bool(reply.json()["conductor"])
        return False

    @property
    def url(self) -> str:
        return str(json.loads((self.home / "endpoint.json").read_text())["url"])


async def until(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + READY_S
    while not await asyncio.to_thread(reached):
        if time.monotonic() > deadline:
            raise TimeoutError("not reached in time")
        await asyncio.sleep(0.1)  # other processes are waited for, which can only be asked


def settled(ledger: Ledger) -> set[Paid]:
    with ledger.reading() as connection:
        rows = connection.execute(select(calls.c.payload).where(calls.c.status == "settled")).scalars()
        return {(payload["messages"][0]["content"], payload["replicate"]) for payload in rows}


async def asked(house: Processes, questions: Iterable[str]) -> dict[str, str]:
    """Each question through the endpoint, under a key of its own: the answers that came."""

    async def one(client: httpx.AsyncClient, question: str) -> tuple[str, str]:
        body = {"model": "fugu-ultra", "messages": [{"role": "user", "content": question}]}
        reply = await client.post("/v1/chat/completions", json=body, headers={"Idempotency-Key": question})
        return question, reply.json()["choices"][0]["message"]["content"]

    async with httpx.AsyncClient(base_url=house.url, timeout=READY_S) as client:
        found = await asyncio.gather(*(one(client, question) for question in questions), return_exceptions=True)
    return dict(pair for pair in found if not isinstance(pair, BaseException))


async def batched(house: Processes, questions: list[str]) -> dict[str, str]:
    """All questions as one run of `conduct`: the answers that are in the ledger after it."""
    runs: list[Run] = []

    def started() -> bool:
        with suppress(UpstreamUnavailable):  # two runs of one batch would be one: they share its requests
            runs.append(house.prefect.start_run("conduct/conduct-questions", {"questions": questions}))
        return bool(runs)

    def ended() -> bool:
        with suppress(UpstreamUnavailable):
            return house.prefect.run(runs[0].id).final
        return False

    await until(started)
    await until(ended)
    ledger = open_ledger()
    with ledger.reading() as connection:
        found = connection.execute(select(requests.c.body)).scalars().all()
    rows = [row for row in found if row["model"] == "conduct" and row["body"]]
    ledger.close()
    return {row["request"]["messages"][0]["content"]: row["body"]["text"] for row in rows}


async def meet(house: Processes, till: Till, ledger: Ledger, victim: str, moment: str) -> tuple[int, int]:
    """Five cells: how many were answered in the end, and calls that were paid again."""
    questions = [f"{victim} {moment} {step}" for step in range(STEPS)]
    killed = till.killed[f"{victim} {moment}"] = asyncio.Event()
    ask = batched if victim == "worker" else asked
    first = asyncio.create_task(ask(house, questions))
    if moment == "after":
        await until(lambda: {(question, int(question.split()[2])) for question in questions} <= settled(ledger))
    else:
        await until(lambda: set(questions) <= till.reached)
    await asyncio.to_thread(house.kill, victim)
    known, before = await asyncio.to_thread(settled, ledger), len(till.paid)
    killed.set()
    if victim == "server":
        answers = await first
        await house.ready(victim)
    else:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await asyncio.sleep(0.5)  # held calls meet their dead sockets: what they count was asked before the kill
        before = len(till.paid) if moment == "before" else before
        await house.ready(victim)
        answers = await ask(house, questions)
    again = sum(paid in known for paid in till.paid[before:])
    cells = sum(answers.get(question) == f"reply {STEPS - 1}" for question in questions)
    print(
        f"{victim:<9}{moment:<7} answered {cells}, settled before the kill {len(known)}, paid again {again}", flush=True
    )
    return cells, again


async def rival(till: Till, url: str, moment: str) -> int:
    """The rival's five cells of a moment: calls that it pays again, of those whose replies it had."""
    questions = [f"rival {moment} {step}" for step in range(STEPS)]
    reached = {(question, int(question.split()[2])) for question in questions}
    killed = till.killed[f"rival {moment}"] = asyncio.Event()
    command = [sys.executable, restarted.__file__, url, *questions]
    first = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    await until(lambda: reached <= set(till.paid) if moment == "after" else set(questions) <= till.reached)
    await asyncio.sleep(0.5)  # replies that have left arrive
    first.kill()
    await first.wait()
    known = {paid for paid in till.paid if paid[0] in questions} - (reached if moment == "during" else set())
    killed.set()
    await asyncio.sleep(0.5)  # that nobody is paid any more has no event
    before = len(till.paid)
    again = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    answers, _ = await again.communicate()
    assert answers.decode().split("\n")[:STEPS] == [f"reply {STEPS - 1}"] * STEPS
    repaid = sum(paid in known for paid in till.paid[before:])
    print(f"rival    {moment:<7} answered {STEPS}, paid before the kill {len(known)}, paid again {repaid}", flush=True)
    return repaid


async def main() -> None:
    for name in [name for name in os.environ if name.startswith(("FUGU_", "PREFECT_"))]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder).resolve()
        till = Till(home / "paid.txt")
        provider = await asyncio.start_server(upstream.serving(till.answer), "127.0.0.1", 0)
        port = provider.sockets[0].getsockname()[1]
        lost = sum([await rival(till, f"http://127.0.0.1:{port}", moment) for moment in MOMENTS])
        furnish(home, port)
        ledger, house = open_ledger(), Processes(home)
        try:
            await house.ready("server")
            provision = house.start("provision")
            await until(lambda: provision.poll() is not None)
            assert provision.returncode == 0, (home / "provision.log").read_text()
            await asyncio.gather(house.ready("worker"), house.ready("endpoint"))
            found = [await meet(house, till, ledger, victim, moment) for victim in VICTIMS for moment in MOMENTS]
        finally:
            house.close()
            ledger.close()
        provider.close()
    cells, repaid = (sum(column) for column in zip(*found, strict=True))
    figures = {"repaid": repaid, "cells": cells, "rival_repaid": lost, "rival_cells": len(MOMENTS) * STEPS}
    report("crash", figures, {"repaid": ["==", 0], "cells": ["==", len(VICTIMS) * len(MOMENTS) * STEPS]})


def furnish(home: Path, port: int) -> None:
    """A pool of one worker behind the provider, a plan, a ledger in which the worker is champion, one deployment."""
    file = yaml.safe_load(provision.PREFECT_FILE.read_text())
    file["deployments"] = [each for each in file["deployments"] if each["entrypoint"] == "flows.conduct:conduct"]
    (home / "prefect.yaml").write_text(yaml.safe_dump(file))
    plan = {"model_id": [0] * STEPS, "subtasks": [f"part {step}" for step in range(STEPS)], "access_list": ACCESS}
    (home / "plan.txt").write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in plan.items()))
    worker = (
        f"name: w, model: openai/w, api_base: http://127.0.0.1:{port}/v1, price: {{}}, limits: {{concurrency: 100}}"
    )
    (home / "pool.yaml").write_text(f"workers: [{{{worker}}}]")
    os.environ |= {
        "FUGU_HOME": str(home),
        "FUGU_POOL": str(home / "pool.yaml"),
        "FUGU_CONDUCTOR": f"fixed:{home / 'plan.txt'}",
        "FUGU_LEASE_S": "2",
        "FUGU_SHOW_TEXTS": "true",  # else no literal question is taken
    }
    upgrade(settings().database)
    ledger = open_ledger()
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "worker", "worker": "w"}, "benchmark")
    ledger.close()


if __name__ == "__main__":
    asyncio.run(main())
