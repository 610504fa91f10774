"""Do all task runners come to the same, and is nothing paid twice when their processes are killed?

Labelling and one generation of evolution, and the flow `conduct` on 40 questions (`scripted.py`: diamonds, chains,
second rounds, nested workflows, faults, a budget each), on threads, on Dask and on Ray, two processes each: `different`
counts the runners whose evolved vector, answers or traces (but for times) are not those of threads. Then a flow's
process and a process of tasks are killed by SIGKILL at random moments while it conducts, and the flow is started again:
`repaid` counts the calls that the ledger had settled before a kill and that were asked again, those that ledger and
provider do not have in common, and the budgets that were passed.

    python tests/benchmarks/runners.py [threads|dask|ray ...]

Needs the extras of the runners that it is to try (all, by default), and no other work on the machine.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import yaml
from candidate_tasks import server
from reporting import report
from scripted import KINDS, call_of
from sqlalchemy import func, select

from deployments.server import free_port
from models.house.provider import COUNTER
from models.ledger import registry
from models.ledger.tables import budgets, calls, requests, tries
from tasks.setup.settings import PROJECT, open_ledger

RUNNERS = ("threads", "dask", "ray")
KILLS = {"threads": 5, "dask": 5, "ray": 2}
"""Of each victim on each runner."""

QUESTIONS, EACH_USD = 40, 7.5
"""A call costs 1 USD: a question whose calls are cut off reaches its limit."""

PATIENCE_S = 300
LABEL = "from flows.refresh_labels import refresh_labels as f; asyncio.run(f())"
WARM = "from flows.warm_start import warm_start as f; asyncio.run(f())"
EVOLVE = "from flows.evolve_router import evolve_router as f; asyncio.run(f())"
CONDUCT = (
    "from flows.conduct import conduct as f; asyncio.run(f({questions!r}, pool={pool!r}, conductor='worker:planner', "
    f"recursive=True, max_usd=1000.0, max_usd_each={EACH_USD}))"
)
PROGRAM = "import asyncio\nif __name__ == '__main__':\n    "
PRESET = {
    "questions": {"train": 40, "validation": 20, "test": 20, "unseen": 0},
    "repeats": 1,
    "backbone": {"size": "tiny", "lines": 640},
    "layout": "late",
    "evolution": {"population": 8, "generations": 1, "questions": 20, "validation": 15, "rungs": 2},
}
TIMES = {"seconds", "plan_seconds", "started_at", "created", "run"}
H = TypeVar("H", bound="House")


class House:
    """A home of its own with a runner, in which flows run as processes."""

    def __init__(self, home: Path, runner: str) -> None:
        self.home, self.runner = home, runner
        self.own = {
            "FUGU_HOME": str(home),
            "FUGU_TASK_RUNNER": runner,
            "FUGU_TASK_RUNNER_SIZE": "2" if runner != "threads" else "0",
            "PREFECT_LOCAL_STORAGE_PATH": str(home / "results"),
            COUNTER: str(home / "asked.jsonl"),
        }
        os.environ |= self.own

    def start(self, code: str) -> subprocess.Popen[bytes]:
        program = self.home / "program.py"
        program.write_text(PROGRAM + code)
        log = (self.home / "flows.log").open("ab")
        return subprocess.Popen([sys.executable, str(program)], env=os.environ | self.own, stdout=log, stderr=log)

    def run(self, code: str) -> None:
        status = self.start(code).wait(PATIENCE_S)
        assert status == 0, f"{self.runner}: the flow ended with {status}, see {self.home / 'flows.log'}"

    def vector(self) -> str:
        """The id of the evolved checkpoint: the digest of its vector."""
        ledger = open_ledger()
        found = registry.newest_checkpoint(ledger, kind="evolved", pool="house")
        ledger.close()
        assert found is not None
        return found.id


class Conducting(House):
    """A home in which the batch of questions is answered. `folder` has the batch and the pool, `port` the provider."""

    def __init__(self, folder: Path, name: str, runner: str, port: int) -> None:
        super().__init__(folder / name, runner)
        self.code = CONDUCT.format(questions=str(folder / "batch.jsonl"), pool=str(folder / "pool.yaml"))
        self.port, self.counter = port, self.home / "counted"

    @contextmanager
    def provided(self) -> Iterator[None]:
        """The provider answers."""
        command = [sys.executable, str(Path(__file__).with_name("scripted.py")), str(self.port), str(self.counter)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as provider:
            assert provider.stdout is not None and provider.stdout.readline()
            try:
                yield
            finally:
                provider.terminate()

    def counted(self) -> list[str]:
        """Each call as often as the provider has worked on it."""
        return self.counter.read_text().splitlines() if self.counter.exists() else []

    def tried(self, *statuses: str) -> Counter[str]:
        """How often each call was tried, of the tries in these states."""
        ledger = open_ledger()
        with ledger.reading() as connection:
            chosen = select(calls.c.worker, calls.c.payload).join(tries, tries.c.call_id == calls.c.id)
            rows = connection.execute(chosen.where(tries.c.status.in_(statuses))).all()
        ledger.close()
        return Counter(call_of(row.worker, row.payload["messages"]) for row in rows)

    def answers(self) -> dict[str, Any]:
        """Answer and trace of each question, without times."""
        ledger = open_ledger()
        with ledger.reading() as connection:
            rows = connection.execute(select(requests.c.id, requests.c.body)).all()
        ledger.close()
        return {row.id: timeless(row.body) for row in rows}

    def killed(self, victim: Callable[[int], list[psutil.Process]], after: int) -> int:
        """Conduct, with a kill after so many calls; what was paid again, is not accounted for, or passed a budget."""
        with self.provided():
            flow = self.start(self.code)
            until = time.monotonic() + PATIENCE_S
            while len(self.counted()) < after:
                assert time.monotonic() < until and flow.poll() is None, f"{self.runner}: ended before {after} calls"
                time.sleep(0.01)  # other processes, which say by the file how far they are
            for process in victim(flow.pid):
                process.kill()
                process.wait(10)
            settled, before = self.tried("settled"), len(self.counted())
            if flow.wait(PATIENCE_S) == -signal.SIGKILL:
                time.sleep(2)  # its other processes notice
            self.run(self.code)
        counted, accounted = Counter(self.counted()), self.tried("settled", "maybe_paid")
        again = sum(call in settled for call in self.counted()[before:])
        unknown, unasked = counted - accounted, set(self.tried("settled")) - set(counted)
        found = again + unknown.total() + len(unasked) + self.passed_budgets()
        if found:
            kept = Path(tempfile.mkdtemp(prefix="runners-"))
            shutil.copytree(self.home, kept / "home")
            print(f"{again} again, not in the ledger {dict(unknown)}, not asked {unasked}, kept in {kept}", flush=True)
        return found

    def passed_budgets(self) -> int:
        """Requests that cost more than their limit, and budgets of runs that were passed."""
        ledger = open_ledger()
        with ledger.reading() as connection:
            spent = func.coalesce(tries.c.cost_usd, tries.c.worst_usd)
            paid = select(calls.c.scope, spent).join(tries, tries.c.call_id == calls.c.id)
            rows = connection.execute(paid.where(tries.c.status.in_(["settled", "maybe_paid"]))).all()
            of_runs = connection.execute(select(budgets.c.spent_usd, budgets.c.max_usd)).all()
        ledger.close()
        of_requests: Counter[str] = Counter()
        for scope, usd in rows:
            of_requests[scope.split("/")[0]] += usd
        over = sum(usd > EACH_USD + 1e-9 for usd in of_requests.values())
        return over + sum(row.spent_usd > row.max_usd + 1e-9 for row in of_runs)


def timeless(found: Any) -> Any:
    """The value without what tells of times."""
    if isinstance(found, dict):
        return {name: timeless(value) for name, value in found.items() if name not in TIMES}
    return [timeless(each) for each in found] if isinstance(found, list) else found


def flows_process(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid)]


def tasks_process(pid: int) -> list[psutil.Process]:
    """One process that runs tasks; of threads it is the flow's."""
    children = psutil.Process(pid).children(recursive=True)
    found = [each for each in children if "spawn_main" in " ".join(each.cmdline()) or each.name().startswith("ray::")]
    busy = [each for each in found if "Dashboard" not in each.name() and "RuntimeEnv" not in each.name()]
    return random.sample(busy, 1) if busy else flows_process(pid)


def opened(house: H) -> H:
    """The house, with an empty ledger."""
    house.home.mkdir(mode=0o700)
    ledger = open_ledger()
    ledger.create_schema()
    ledger.close()
    return house


def vectors(folder: Path, runners: Sequence[str]) -> dict[str, str]:
    """The evolved vector on each runner, from one warm start."""
    start = opened(House(folder / "start", "threads"))
    start.run(LABEL)
    start.run(WARM)
    found = {}
    for runner in runners:
        shutil.copytree(start.home, folder / runner, ignore=shutil.ignore_patterns("results"))
        house = House(folder / runner, runner)
        house.run(EVOLVE)
        found[runner] = house.vector()
    return found


def answers(folder: Path, runners: Sequence[str], port: int) -> dict[str, Any]:
    """Answers and traces of the batch on each runner."""
    found = {}
    for runner in runners:
        house = opened(Conducting(folder, f"conduct-{runner}", runner, port))
        with house.provided():
            house.run(house.code)
        found[runner] = house.answers()
        assert len(found[runner]) == QUESTIONS
    return found


def repaid(folder: Path, runners: Sequence[str], port: int) -> int:
    """Over all kills."""
    total = 0
    for runner in runners:
        for victim in (flows_process, tasks_process):
            for number in range(KILLS[runner]):
                house = opened(Conducting(folder, f"{runner}-{victim.__name__}-{number}", runner, port))
                after = random.randint(5, 150)
                found = house.killed(victim, after)
                print(f"{runner}, {victim.__name__} after {after} calls: {found} repaid", flush=True)
                total += found
    return total


def furnish(folder: Path, port: int) -> None:
    """The house's data with a small preset; the batch of questions and their pool."""
    shutil.copytree(PROJECT / "data" / "pools", folder / "data" / "pools")
    (folder / "data" / "presets.yaml").write_text(yaml.safe_dump({"first-light": PRESET}))
    lines = [{"question": f"question {n}: {KINDS[n % len(KINDS)]}"} for n in range(QUESTIONS)]
    (folder / "batch.jsonl").write_text("\n".join(map(json.dumps, lines)))
    options = {
        "api_base": f"http://127.0.0.1:{port}/v1",
        "price": {"input_per_million": 0.0, "output_per_million": 500_000.0},
        "limits": {"max_output_tokens": 2, "concurrency": 64},
    }
    names = ["planner", "w1", "w2", "w3"]
    pool = [{"name": name, "model": f"openai/{name}", **options} for name in names]
    (folder / "pool.yaml").write_text(yaml.safe_dump({"workers": pool}))


def main() -> None:
    random.seed(12)
    runners = sys.argv[1:] or list(RUNNERS)
    with tempfile.TemporaryDirectory() as name, server(Path(name) / "prefect"):
        folder, port = Path(name), free_port("127.0.0.1", 0, "port")
        furnish(folder, port)
        own = {"FUGU_DATA": str(folder / "data"), "FUGU_LEASE_S": "1", "OMP_NUM_THREADS": "1"}
        os.environ |= own | {"OPENAI_API_KEY": "none"}
        all_runners = list(dict.fromkeys(["threads", *runners]))
        found = [vectors(folder, all_runners), answers(folder, all_runners, port)]
        different = sum(each[runner] != each["threads"] for each in found for runner in runners)
        figures = {"different": different, "repaid": repaid(folder, runners, port)}
    report("runners", figures, {"different": ("==", 0), "repaid": ("==", 0)})


if __name__ == "__main__":
    main()
