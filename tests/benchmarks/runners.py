"""Do all task runners come to the same, and is nothing paid twice when their processes are killed?

Labelling and one generation of evolution on threads, on Dask and on Ray, two processes each: `different` counts the
runners whose evolved vector is not that of threads, bit for bit. Then the flow and a process of tasks are killed by
SIGKILL at random moments, and the flow is started again: `repaid` counts the calls that the ledger had settled before a
kill and that a worker was asked again, and those that ledger and workers' own count do not have in common.

Needs the extras `dask` and `ray`, and no other work on the machine.
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml
from candidate_tasks import server
from reporting import report

from models.house.provider import COUNTER
from models.ledger import registry
from tasks.setup.settings import PROJECT, open_ledger

KILLS = {"threads": 5, "dask": 5, "ray": 2}
"""Of each victim on each runner."""

PATIENCE_S = 300
LABEL = "from flows.refresh_labels import refresh_labels as f; asyncio.run(f())"
WARM = "from flows.warm_start import warm_start as f; asyncio.run(f())"
EVOLVE = "from flows.evolve_router import evolve_router as f; asyncio.run(f())"
PROGRAM = "import asyncio\nif __name__ == '__main__':\n    "
PRESET = {
    "questions": {"train": 40, "validation": 20, "test": 20, "unseen": 0},
    "repeats": 1,
    "backbone": {"size": "tiny", "lines": 640},
    "layout": "late",
    "evolution": {"population": 8, "generations": 1, "questions": 20, "validation": 15, "rungs": 2},
}


def paid_in(home: Path) -> Any:
    """The tests' proof of what is paid in a home."""
    found = importlib.util.spec_from_file_location("proof", PROJECT / "tests" / "conftest.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.Paid(home)


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
        self.paid = paid_in(home)

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

    def killed(self, victim: Callable[[int], list[psutil.Process]], after: int) -> int:
        """Label, with a kill after so many calls; the calls that were repaid."""
        flow = self.start(LABEL)
        until = time.monotonic() + PATIENCE_S
        while len(self.paid.asked()) < after:
            assert time.monotonic() < until and flow.poll() is None, f"{self.runner}: ended before {after} calls"
            time.sleep(0.01)  # other processes, which say by the file how far they are
        for process in victim(flow.pid):
            process.kill()
            process.wait(10)
        self.paid.mark()
        if flow.wait(PATIENCE_S) == -signal.SIGKILL:
            time.sleep(2)  # its other processes notice
        self.run(LABEL)
        asked, settled = self.paid.asked(), self.paid.settled()
        return len(self.paid.twice()) + len(settled ^ set(asked))


def flows_process(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid)]


def tasks_process(pid: int) -> list[psutil.Process]:
    """One process that runs tasks; of threads it is the flow's."""
    children = psutil.Process(pid).children(recursive=True)
    found = [each for each in children if "spawn_main" in " ".join(each.cmdline()) or each.name().startswith("ray::")]
    busy = [each for each in found if "Dashboard" not in each.name() and "RuntimeEnv" not in each.name()]
    return random.sample(busy, 1) if busy else flows_process(pid)


def fresh(folder: Path, name: str, runner: str) -> House:
    house = House(folder / name, runner)
    house.home.mkdir(mode=0o700)
    ledger = open_ledger()
    ledger.create_schema()
    ledger.close()
    return house


def vectors(folder: Path) -> dict[str, str]:
    """The evolved vector on each runner, from one warm start."""
    start = fresh(folder, "start", "threads")
    start.run(LABEL)
    start.run(WARM)
    found = {}
    for runner in KILLS:
        shutil.copytree(start.home, folder / runner, ignore=shutil.ignore_patterns("results"))
        house = House(folder / runner, runner)
        house.run(EVOLVE)
        found[runner] = house.vector()
    return found


def repaid(folder: Path) -> int:
    """Over all kills."""
    total = 0
    for runner, times in KILLS.items():
        for victim in (flows_process, tasks_process):
            for number in range(times):
                house = fresh(folder, f"{runner}-{victim.__name__}-{number}", runner)
                after = random.randint(20, 400)
                found = house.killed(victim, after)
                print(f"{runner}, {victim.__name__} after {after} calls: {found} repaid", flush=True)
                total += found
    return total


def main() -> None:
    random.seed(12)
    with tempfile.TemporaryDirectory() as name, server(Path(name) / "prefect"):
        folder = Path(name)
        data = folder / "data"
        shutil.copytree(PROJECT / "data" / "pools", data / "pools")
        (data / "presets.yaml").write_text(yaml.safe_dump({"first-light": PRESET}))
        os.environ |= {"FUGU_DATA": str(data), "FUGU_LEASE_S": "1", "OMP_NUM_THREADS": "1"}
        found = vectors(folder)
        different = sum(vector != found["threads"] for vector in found.values())
        figures = {"different": different, "repaid": repaid(folder)}
        # `conduct`: 40 questions on each runner go here, with their answers, traces and kills in the same two figures.
    report("runners", figures, {"different": ("==", 0), "repaid": ("==", 0)})


if __name__ == "__main__":
    main()
