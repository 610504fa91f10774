"""kill -9 before, during and after a step of a tree, then the same request again: nothing that was settled is paid.

All 45 cells, with the endpoint, the pool's worker and the Prefect server: tests/benchmarks/crash.py.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from models.ledger.accounts import maybe_paid
from models.ledger.tables import calls

pytestmark = pytest.mark.programs

STANDIN = Path(__file__).with_name("standin_conductor.py")


class Till:
    """The worker. It counts a call before it replies; at one step and moment it holds the call and says so."""

    def __init__(self, step: int, moment: str) -> None:
        self.step, self.moment = step, moment
        self.paid: list[int] = []
        self.reached, self.killed = asyncio.Event(), asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        step = int(await reader.readline())
        if self.moment == "after" and step > self.step:
            await self.killed.wait()  # nobody gets further than the step after which the process dies
        if (step, self.moment) == (self.step, "before"):
            await self._hold()
        if writer.is_closing() or await self._gone(reader):
            return
        self.paid.append(step)
        if (step, self.moment) == (self.step, "during"):
            await self._hold()
        writer.write(f"reply {step}\n".encode())
        writer.close()

    async def _hold(self) -> None:
        self.reached.set()
        await self.killed.wait()

    async def _gone(self, reader: asyncio.StreamReader) -> bool:
        """Whether the process that asked is dead: its end of the connection says so."""
        try:
            async with asyncio.timeout(0.02):
                await reader.read()
            return True
        except TimeoutError:
            return False


def settled(ledger) -> set[int]:
    with ledger.reading() as connection:
        rows = connection.execute(select(calls.c.payload).where(calls.c.status == "settled")).scalars()
        return {payload["replicate"] for payload in rows}


async def start(ledger, port: int) -> asyncio.subprocess.Process:
    command = [sys.executable, str(STANDIN), ledger.url, str(port)]
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)


@pytest.mark.parametrize(("step", "moment"), [(0, "before"), (1, "during"), (3, "before"), (3, "during"), (4, "after")])
async def test_a_killed_request_pays_for_nothing_settled_again(ledger, step, moment):
    till = Till(step, moment)
    server = await asyncio.start_server(till.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = await start(ledger, port)
    if moment == "after":
        while step not in await asyncio.to_thread(settled, ledger):
            await asyncio.sleep(0.01)  # another process is waited for: the ledger says how far it is
    else:
        async with asyncio.timeout(30):
            await till.reached.wait()
    process.kill()
    await process.wait()
    before, known = len(till.paid), await asyncio.to_thread(settled, ledger)
    till.moment = "never"
    till.killed.set()
    again = await start(ledger, port)
    out, _ = await again.communicate()
    assert json.loads(out)["text"] == "reply 4"
    assert not known & set(till.paid[before:])
    lost = {row["call_id"] for row in maybe_paid(ledger, "r/0")}
    assert bool(lost) == (moment != "after")
    assert till.paid.count(step) == (2 if moment == "during" else 1)
    server.close()
