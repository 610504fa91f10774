"""What does Prefect's runner of workflows cost over Prefect itself?

64 questions, each a chain of three steps on a worker that takes 200 ms (a real HTTP upstream on loopback), as the flow
`conduct` answers them: wall time over that of the same subflows, tasks, keys, persistence and server whose bodies only
sleep 200 ms (`over_empty_tasks`, at most 1.25), and over the endpoint's runner on the same questions
(`over_in_process`, no bound). Three rounds, taken in turn; medians.

    python tests/benchmarks/conduct_batch.py
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import conduct_many
from conduct_many import PLAN, Place, announced, prefect
from reporting import report

from deployments.migrations import upgrade

QUESTIONS, STEP_S, ROUNDS = 64, 0.2, 3

RUNS = """
import asyncio, json, sys, time, uuid
from dataclasses import replace
from prefect import allow_failure, flow
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH
from flows.conduct import CONCURRENT_QUESTIONS, conduct
from models.conductor.run.request import ConductRequest
from models.conductor.run.request_run import RequestRuns
from tasks import step
from tasks.batch import begin_request
from tasks.caching import PAID, key_of
from tasks.quiet import task
from tasks.setup.conductor import open_parts
from tasks.setup.process import on_loop
from tasks.setup.runner import ended
from tasks.setup.session import open_session
from tasks.setup.settings import open_ledger

QUESTIONS, STEP_S = int(sys.argv[1]), float(sys.argv[2])
TEXTS = [f"question {number}" for number in range(QUESTIONS)]


@task(task_run_name="plan of round {round}", cache_key_fn=key_of("of", "round"), **step.WAITS_IN_THE_LEDGER)
async def plan_round(of, round):
    return of


@task(task_run_name="{label}", cache_key_fn=key_of("of", "round", "index"), **step.WAITS_IN_THE_LEDGER)
async def run_step(of, round, index, label, sees):
    await asyncio.sleep(STEP_S)
    return f"done {of}"


@flow(name="workflow", flow_run_name="{title}")
async def empty_workflow(of: str, title: str):
    plan = plan_round.submit(of, 0)
    await ended([plan])
    steps = []
    for index in range(3):
        given = [allow_failure(one) for one in steps[-1:]]
        step_task = run_step.with_options(retries=3)
        steps.append(step_task.submit(of, 0, index, f"step {index + 1}: w", given, wait_for=[plan]))
    await ended(steps)
    return "stop"


@flow(name="conduct", flow_run_name="empty", persist_result=False)
async def empty(texts: int):
    gate = asyncio.Semaphore(CONCURRENT_QUESTIONS)
    run = empty_workflow.with_options(result_storage=PREFECT_LOCAL_STORAGE_PATH.value())

    async def one(number):
        async with gate:
            return await run(uuid.uuid4().hex, f"question {number}", return_state=True)

    await asyncio.gather(*(one(number) for number in range(texts)))


async def in_process(pool: str, conductor: str):
    async with open_session(pool, 1.0) as session:
        async def answers():
            request_runs = RequestRuns(await open_parts(session.ledger, session.pool, session.dispatcher, conductor))
            gate = asyncio.Semaphore(CONCURRENT_QUESTIONS)

            async def one(text):
                async with gate:
                    message = {"role": "user", "content": text}
                    request = ConductRequest(id=uuid.uuid4().hex, messages=(message,), allowed=("w",))
                    await asyncio.to_thread(begin_request, session.ledger, request)
                    return await request_runs.open(request).answer()

            found = await asyncio.gather(*map(one, TEXTS))
            await request_runs.close()
            return found

        assert len(await on_loop(answers())) == QUESTIONS


async def timed(work):
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def main():
    import os
    pool, conductor = os.environ["FUGU_POOL"], os.environ["FUGU_CONDUCTOR"]
    await empty(1)
    for round in range(int(sys.argv[3])):
        found = {
            "conduct": await timed(conduct(TEXTS, pool=pool, conductor=conductor, name=f"{round}", max_usd=1.0)),
            "empty": await timed(empty(QUESTIONS)),
        }
        found["in_process"] = await timed(in_process(pool, conductor))
        print(json.dumps(found), flush=True)

asyncio.run(main())
"""


def measure(place: Place) -> list[dict[str, float]]:
    """Seconds of each way, round by round."""
    for name in [name for name in os.environ if name.startswith(("FUGU_", "PREFECT_"))]:
        del os.environ[name]
    os.environ |= {"FUGU_HOME": str(place.home), "FUGU_LEDGER_URL": place.ledger, "FUGU_SHOW_TEXTS": "true"}
    with ExitStack() as stack:
        code = conduct_many.UPSTREAM.replace(f"sleep({conduct_many.STEP_S})", f"sleep({STEP_S})")
        upstream = stack.enter_context(announced(["-c", code], dict(os.environ), place.home / "upstream.log"))
        worker = f"name: w, model: openai/second, api_base: {upstream}/v1, price: {{}}, limits: {{concurrency: 200}}"
        (place.home / "pool.yaml").write_text(f"workers: [{{{worker}}}]")
        (place.home / "plan.txt").write_text(PLAN)
        os.environ |= {"FUGU_POOL": str(place.home / "pool.yaml"), "FUGU_CONDUCTOR": f"fixed:{place.home / 'plan.txt'}"}
        upgrade(place.ledger)
        environment = stack.enter_context(prefect(place))
        (place.home / "runs.py").write_text(RUNS)
        command = [sys.executable, str(place.home / "runs.py"), str(QUESTIONS), str(STEP_S), str(ROUNDS)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200)
    if run.returncode:
        raise SystemExit(run.stderr[-3000:])
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        rounds = measure(Place(home, f"sqlite:///{home / 'ledger.db'}"))
    figures = {
        f"over_{name}": round(statistics.median(each["conduct"] / each[rival] for each in rounds), 3)
        for name, rival in (("empty_tasks", "empty"), ("in_process", "in_process"))
    }
    figures |= {f"{name}_s": round(statistics.median(each[name] for each in rounds), 2) for name in rounds[0]}
    report("conduct_batch", figures, {"over_empty_tasks": ["<=", 1.25]})


if __name__ == "__main__":
    main()
