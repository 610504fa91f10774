"""A ledger, a pool of workers whose replies a test decides, and conductings over them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from models.conductor.plan.writers import FixedWriter
from models.conductor.run.request import ConductParts, ConductRequest
from models.conductor.run.request_run import RequestRuns
from models.ledger.requests import record_request
from models.ledger.store import Ledger
from models.workers.ask import Ask, Reply, Usage
from models.workers.dispatch import Dispatcher
from models.workers.pool import Limits as WorkerLimits
from models.workers.pool import Pool, Price, Worker
from models.workers.retry import RetryPolicy

QUESTION = {"role": "user", "content": "Who painted it, and when?"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


class Workers:
    """A sender. `replies` by worker, or by (worker, step): a text, an exception, tool calls, or a list of them to be
    used one by one. `gates`: events that a step of that index waits for. Usage: 10 tokens in, 2 out, 1 USD a call.
    """

    def __init__(self) -> None:
        self.asked: list[Ask] = []
        self.running, self.most = 0, 0
        self.replies: dict[Any, Any] = {}
        self.gates: dict[int, asyncio.Event] = {}
        self.arrived: dict[int, asyncio.Event] = {}

    async def complete(self, ask: Ask) -> Reply:
        self.asked.append(ask)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if ask.replicate in self.arrived:
                self.arrived[ask.replicate].set()
            if ask.replicate in self.gates:
                await self.gates[ask.replicate].wait()
            return self._reply(ask)
        finally:
            self.running -= 1

    def stream(self, ask: Ask) -> Any:
        raise AssertionError("steps are not streamed")

    def _reply(self, ask: Ask) -> Reply:
        said = self.replies.get((ask.worker, ask.replicate), self.replies.get(ask.worker))
        if isinstance(said, list):
            said = said.pop(0) if said else None
        if isinstance(said, Exception):
            raise said
        calls = tuple(said) if isinstance(said, tuple) else ()
        text = said if isinstance(said, str) else None if calls else f"{ask.worker} to step {ask.replicate}"
        return Reply(
            worker=ask.worker,
            revision=ask.revision,
            text=text,
            tool_calls=calls,
            finish_reason="tool_calls" if calls else "stop",
            usage=Usage(prompt_tokens=10, completion_tokens=2),
            cost_usd=1.0,
            seconds=0.5,
        )

    def steps(self, workflow: str | None = None) -> list[int]:
        """Which steps were asked, in order; plans count as negative ones."""
        return [ask.replicate for ask in self.asked if workflow in (None, ask.scope)]


@pytest.fixture
def pool() -> Pool:
    # A million bytes cost a dollar, and so do two tokens: a call's worst case is near 1 USD.
    price = Price(input_per_million=1.0, output_per_million=500_000.0)
    limits = WorkerLimits(max_output_tokens=2)
    names = ("a", "b", "c")
    workers = tuple(Worker(name=name, model=f"openai/{name}", price=price, limits=limits) for name in names)
    boss = Worker(name="boss", model="openai/boss", price=price, limits=limits)
    return Pool(name="p", workers=workers, conductors=(boss,))


@pytest.fixture
def workers() -> Workers:
    return Workers()


class House:
    """Everything a conducting needs; `again` is another process's: a new executor and dispatcher on one ledger."""

    def __init__(self, ledger: Ledger, pool: Pool, workers: Workers) -> None:
        self.ledger, self.pool, self.workers = ledger, pool, workers
        self.ranked: list[tuple[list[Any], list[str]]] = []
        self._opened: list[tuple[RequestRuns, Dispatcher]] = []

    @staticmethod
    def plan(*steps: tuple[int, str, Any]) -> str:
        """A plan's text from (worker's ordinal, subtask, access list) of each step."""
        columns = [list(column) for column in zip(*steps, strict=True)] if steps else [[], [], []]
        return "\n".join(
            f"{name} = {json.dumps(column)}"
            for name, column in zip(("model_id", "subtasks", "access_list"), columns, strict=True)
        )

    @staticmethod
    def ask(id: str = "r", **changes: Any) -> ConductRequest:
        """A request to all three workers."""
        given = {"messages": (QUESTION,), "allowed": ("a", "b", "c")}
        return ConductRequest.model_validate({"id": id, **given, **changes})

    @staticmethod
    def tool_call(id: str, arguments: str = "{}") -> dict[str, Any]:
        """A worker's call of the client's tool."""
        return {"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}}

    async def rank(self, messages: Any, allowed: Any) -> list[str]:
        """The pool's order, backwards."""
        self.ranked.append((list(messages), list(allowed)))
        return sorted(allowed, reverse=True)

    def parts(self, text: Any, **changes: Any) -> ConductParts:
        policy = FixedWriter(text) if isinstance(text, str) else text
        retry = RetryPolicy(tries=3, base_s=0, poll_s=0.001, poll_cap_s=0.001)
        dispatcher = Dispatcher(self.ledger, self.pool, self.workers, retry=retry, lease_s=0.2)
        given: dict[str, Any] = {"rank": self.rank, "retry": retry, **changes}
        return ConductParts(self.ledger, self.pool, dispatcher, policy, **given)

    def open(self, text: Any, **changes: Any) -> RequestRuns:
        parts = self.parts(text, **changes)
        request_runs = RequestRuns(parts)
        self._opened.append((request_runs, parts.dispatcher))
        return request_runs

    async def conduct(self, text: Any, request: ConductRequest | None = None, **changes: Any) -> Any:
        """The answer to a request over that plan, in a process of its own."""
        request = request or self.ask()
        record_request(self.ledger, {"id": request.id, "request": request.model_dump(mode="json")})
        request_runs = self.open(text, **changes)
        answer = await request_runs.open(request).answer()
        await request_runs.flush()
        return answer

    async def close(self) -> None:
        for request_runs, dispatcher in self._opened:
            await request_runs.close()
            await dispatcher.close()


@pytest.fixture
async def house(ledger: Ledger, pool: Pool, workers: Workers) -> Any:
    house = House(ledger, pool, workers)
    yield house
    await house.close()
