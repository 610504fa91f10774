"""Does a workflow take as long as its critical path? Beside it the same steps one after another.

Plans of five steps over workers that take a second, behind a real HTTP provider, through litellm and the ledger on
disk: a chain, a tree of three with an aggregator and a last step, best of four with a judge. Medians of several runs.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import upstream
from reporting import report

from models.conductor.plan.context import Done, messages_for
from models.conductor.plan.workflow import Workflow, parse
from models.conductor.plan.writers import FixedWriter
from models.conductor.run.request import ConductParts, ConductRequest
from models.conductor.run.request_run import RequestRuns
from models.ledger.store import Ledger
from models.workers.ask import Ask
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool, Price, Worker
from models.workers.translation import load_litellm

SECONDS = 1.0
RUNS = 3
ALLOWANCE_S = 0.3
QUESTION = {"role": "user", "content": "Which is the best of these, and why?"}

Way = Callable[[Ledger, Pool, str, int], Awaitable[None]]

PLANS = {  # access lists, and how many steps the longest path has
    "chain": ([[], [0], [1], [2], [3]], 5),
    "tree": ([[], [], [], [0, 1, 2], [3]], 3),
    "best of four": ([[], [], [], [], [0, 1, 2, 3]], 2),
}


def plan(name: str) -> str:
    access, _ = PLANS[name]
    lists = {
        "model_id": [index % 2 for index in range(5)],
        "subtasks": [f"step {index} of the {name}" for index in range(5)],
        "access_list": access,
    }
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in lists.items())


async def ours(ledger: Ledger, pool: Pool, name: str, run: int) -> None:
    """As a request to the endpoint is conducted."""
    dispatcher = Dispatcher(ledger, pool)

    async def rank(messages: object, allowed: list[str]) -> list[str]:
        return allowed

    request_runs = RequestRuns(ConductParts(ledger, pool, dispatcher, FixedWriter(plan(name)), rank))  # type: ignore[arg-type]
    request = ConductRequest(id=f"{name}-{run}", messages=(QUESTION,), allowed=pool.names)  # type: ignore[call-arg]
    answer = await request_runs.open(request).answer()
    assert answer.calls == 5, answer
    await request_runs.close()
    await dispatcher.close()


async def sequential(ledger: Ledger, pool: Pool, name: str, run: int) -> None:
    """The steps in the order in which they are written, through the same dispatcher."""
    dispatcher = Dispatcher(ledger, pool)
    workflow = parse(plan(name))
    assert isinstance(workflow, Workflow)
    done: dict[int, Done] = {}
    for index, step in enumerate(workflow.steps):
        messages = tuple(messages_for((QUESTION,), workflow, index, done))
        worker = pool.workers[step.model]
        scope = f"sequential-{name}-{run}"
        ask = Ask(scope=scope, worker=worker.name, revision=worker.revision, messages=messages, replicate=index)
        done[index] = Done(index, step.subtask, (await dispatcher.ask(ask)).text or "")
    await dispatcher.close()


async def timed(
    way: Callable[[Ledger, Pool, str, int], Awaitable[None]], ledger: Ledger, pool: Pool
) -> dict[str, float]:
    """Median seconds by plan."""
    found = {}
    for name in PLANS:
        walls = []
        for run in range(RUNS):
            started = time.monotonic()
            await way(ledger, pool, name, run)
            walls.append(time.monotonic() - started)
        found[name] = statistics.median(walls)
        print(f"{way.__name__:<12}{name:<14}{found[name]:.3f} s")
    return found


async def main() -> None:
    load_litellm()
    server = await upstream.start(SECONDS)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    free = Price(input_per_million=0, output_per_million=0)
    workers = tuple(Worker(name=f"w{n}", model=f"openai/w{n}", api_base=url, price=free) for n in range(2))
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(f"sqlite:///{Path(folder).resolve() / 'ledger.db'}")
        ledger.create_schema()
        pool = Pool(name="slow", workers=workers)
        await ours(ledger, pool, "best of four", -1)  # connections and imports
        mine, theirs = await timed(ours, ledger, pool), await timed(sequential, ledger, pool)
        ledger.close()
    server.close()
    worst = max((mine[name] - ALLOWANCE_S) / (steps * SECONDS) for name, (_, steps) in PLANS.items())
    figures = {
        "wall_over_critical_path": round(worst, 3),
        "sequential_over_ours": round(sum(theirs.values()) / sum(mine.values()), 3),
    }
    report("conduct", figures, {"wall_over_critical_path": ["<=", 1.1]})


if __name__ == "__main__":
    asyncio.run(main())
