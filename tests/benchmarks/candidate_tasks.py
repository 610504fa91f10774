"""What is Prefect's share of a generation? 33 candidates that take no time, each a task of a generation's flow.

The server is set up as `fugu up` does it, in a process of its own; tasks, retries, keys and kept results are those
of `evolve-router`, with vectors of the released length. Beside it the same rollouts without Prefect. Log records go to
the server, as they do by default; only this terminal is spared them.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from reporting import report

from deployments.home import secret
from deployments.server import Server, command, environment, free_port
from models.fugu.learn.fitness import RolloutScore, Weights
from tasks.setup.settings import settings

POPULATION, LENGTH, GENERATIONS = 33, 19_456, 9
START_S = 120
CLIENT = "--client"
QUIET = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING"}


@contextmanager
def server(home: Path) -> Iterator[None]:
    """A Prefect server of this home; the process's own variables lead to it."""
    os.environ["FUGU_HOME"] = str(home)
    port = free_port("127.0.0.1", 0, "--prefect-port")
    url = f"http://127.0.0.1:{port}"
    os.environ.update(environment(settings(), url))
    with (home / "server.log").open("w") as log:
        running = subprocess.Popen([sys.executable, "-m", *command(port)], stdout=log, stderr=log, cwd=home)
    try:
        until = time.monotonic() + START_S
        while not Server(url, secret(settings().home)).healthy():
            assert time.monotonic() < until and running.poll() is None, "the Prefect server did not start"
            time.sleep(0.2)  # another process, which can only be asked
        yield
    finally:
        running.terminate()
        running.wait()


class Instant:
    """An objective whose rollouts are there at once."""

    def __init__(self) -> None:
        self.slots = [None] * 8
        self.pool = SimpleNamespace(workers=[None] * 7)
        self.options = SimpleNamespace(turns=5)

    async def scores(self, vector: np.ndarray, *, temperature: float, part: slice) -> list[RolloutScore]:
        return [RolloutScore(float(vector[0]), (0,)) for _ in self.slots[part]]


def scoring() -> Any:
    from tasks.setup.scoring import Scoring

    turn = asyncio.Semaphore(2)
    return Scoring(Instant(), Weights(), temperature=1.0, rungs=1, meaning="instant", turn=turn)  # type: ignore[arg-type]


async def seconds() -> tuple[list[float], list[float]]:
    """Of each generation as a flow of tasks, and of its rollouts alone."""
    from prefect import flow

    from flows.evolve_router import generation
    from tasks import candidate
    from tasks.quiet import Live
    from tasks.setup.scoring import Part

    @flow(name="evolve-nothing")
    async def evolve() -> tuple[list[float], list[float]]:
        shared = scoring()
        candidate.scoring_of = lambda recipe: shared
        draws = np.random.default_rng(0)
        tasks, alone = [], []
        for number in range(GENERATIONS):
            population = draws.standard_normal((POPULATION, LENGTH)).astype(np.float32)
            started = time.perf_counter()
            await generation("nothing", number, Live(Part(None, shared)), Live(population))  # type: ignore[arg-type]
            tasks.append(time.perf_counter() - started)
            started = time.perf_counter()
            for vector in population:
                await shared.objective.scores(vector, temperature=1.0, part=slice(None))
            alone.append(time.perf_counter() - started)
        return tasks, alone

    return await evolve()


def main() -> None:
    if CLIENT in sys.argv:
        print(json.dumps(asyncio.run(seconds())))
        return
    # A process of its own: it hands its last events over when it ends, and the server must still be there.
    with tempfile.TemporaryDirectory() as home, server(Path(home)):
        command_line, variables = [sys.executable, __file__, CLIENT], os.environ | QUIET
        client = subprocess.run(command_line, env=variables, stdout=subprocess.PIPE, check=True, text=True)
    tasks, alone = json.loads(client.stdout)
    shown = ", ".join(f"{value:.2f}" for value in tasks)
    print(
        f"seconds of {GENERATIONS} generations of {POPULATION}: {shown}; without Prefect {statistics.median(alone):.4f}"
    )
    found = {"seconds_for_33": statistics.median(tasks), "worst_seconds_for_33": max(tasks)}
    report("candidate_tasks", found, {"seconds_for_33": ("<=", 1.5)})


if __name__ == "__main__":
    main()
