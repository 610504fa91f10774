"""A process that conducts one request and is killed: python standin_conductor.py LEDGER_URL WORKER_PORT."""

from __future__ import annotations

import asyncio
import json
import sys

from models.conductor.plan.writers import FixedWriter
from models.conductor.run.request import ConductParts, ConductRequest
from models.conductor.run.request_run import RequestRuns
from models.ledger.store import Ledger
from models.workers.ask import Ask, Reply
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool, Price, Worker

PLAN = """
model_id = [0, 0, 0, 0, 0]
subtasks = ["a", "b", "c", "join", "answer"]
access_list = [[], [], [], [0, 1, 2], [3]]
"""
QUESTION = {"role": "user", "content": "?"}


class Wire:
    """Sends a step's index as one line, and waits for the line that is its reply."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def complete(self, ask: Ask) -> Reply:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"{ask.replicate}\n".encode())
        text = (await reader.readline()).decode().strip()
        writer.close()
        return Reply(worker=ask.worker, revision=ask.revision, text=text)


async def main(url: str, port: int) -> None:
    worker = Worker(name="w", model="openai/w", price=Price(input_per_million=0, output_per_million=0))
    pool, ledger = Pool(name="p", workers=(worker,)), Ledger(url)
    dispatcher = Dispatcher(ledger, pool, Wire(port), lease_s=0.5)  # type: ignore[arg-type]

    async def rank(messages: object, allowed: object) -> list[str]:
        return ["w"]

    request_runs = RequestRuns(ConductParts(ledger, pool, dispatcher, FixedWriter(PLAN), rank))  # type: ignore[arg-type]
    request = ConductRequest(id="r", messages=(QUESTION,), allowed=("w",))  # type: ignore[call-arg]
    answer = await request_runs.open(request).answer()
    await request_runs.close()
    print(json.dumps({"text": answer.text, "trace": answer.trace}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
