"""An agent's time that a worker used up is an outage; where it used it up itself, it failed.

Whole rollouts are in tests/endpoint/test_rollout.py; here the endpoint is the one that they have, and the worker a
stand-in that answers or hangs.
"""

from __future__ import annotations

import asyncio

import pytest

from deployments.endpoint.rollout import server_of
from models.coding.agent import Agent
from models.coding.rollouts import Bench, Calls, Rollouts, TaskSlot, constant
from models.errors import UpstreamTimeout
from models.grading.repository import load_task
from models.house import handler
from models.workers.ask import Ask, Reply
from models.workers.client import Chunk
from models.workers.pool import Pool
from tasks.setup.settings import PROJECT

pytestmark = pytest.mark.programs

DATA = PROJECT / "data"
ASK = """
import json, os, time, urllib.request
def ask(timeout=60, stream=False):
    body = {'model': 'fugu', 'messages': [{'role': 'user', 'content': 'hi'}], 'stream': stream}
    url, kind = os.environ['OPENAI_BASE_URL'] + '/chat/completions', {'Content-Type': 'application/json'}
    request = urllib.request.Request(url, json.dumps(body).encode(), kind)
    return urllib.request.urlopen(request, timeout=timeout).read()
"""


class Worker:
    """Answers so many calls, each after `takes_s`, then hangs for so many, then answers again."""

    def __init__(self, answers: int, hangs: int = 1000, takes_s: float = 0.0) -> None:
        self.answers, self.hangs, self.takes_s, self.asked = answers, hangs, takes_s, 0

    async def ask(self, ask):
        self.asked += 1
        await asyncio.sleep(self.takes_s)  # a worker that takes as long is what is stood in for
        if self.answers < self.asked <= self.answers + self.hangs:
            await asyncio.Event().wait()
        return Reply(worker=ask.worker, revision=ask.revision, text="well", cost_usd=1.0)

    async def stream(self, ask):
        reply = await self.ask(ask)
        yield Chunk("well")
        yield Chunk(reply=reply)


@pytest.fixture
def pool():
    handler.register()
    return Pool.load(DATA / "pools" / "house.yaml")


@pytest.fixture
def rollouts(ledger, pool, workshops):
    """`(what the agent does, worker)` -> rollouts of one task."""

    def make(does, worker):
        room = {"wall_s": 4, "memory_mb": 256, "processes": 24}
        agent = Agent(command=("python3", "-c", ASK + does), room=room)
        bench = Bench(agent, server_of(ledger, pool), worker, "measure:1")
        return Rollouts(bench, [TaskSlot(load_task(DATA / "repositories" / "change"), 0)])

    return make


async def test_time_that_a_worker_used_up_is_an_outage_and_not_remembered(rollouts, pool):
    async def used_up(does):
        found = rollouts(does, Worker(does.count("ask") - 1))
        with pytest.raises(UpstreamTimeout, match="change"):
            await found.ends(constant(pool.names, "coder"), [0])
        assert not found._starts and found.spent.turns == 0, does
        found.bench.asking.hangs = 0  # it is there again
        end = (await found.ends(constant(pool.names, "coder"), [0]))[0]
        assert end.agent.startswith("exit 0") and end.calls == does.count("ask"), does

    # Each of them waits until its time is up, so all do at once.
    await asyncio.gather(*map(used_up, ("ask()", "ask(); ask()", "ask(stream=True); ask(stream=True)")))


async def test_an_agent_that_ran_out_of_time_by_itself_has_failed(rollouts, pool):
    async def ran_out(does, worker):
        end = (await rollouts(does, worker).ends(constant(pool.names, "coder"), [0]))[0]
        assert end.reward == 0 and end.agent.startswith("out of time"), does

    await asyncio.gather(
        ran_out("time.sleep(60)", Worker(9)),
        ran_out("ask(); time.sleep(60)", Worker(9)),
        ran_out("ask(stream=True); time.sleep(60)", Worker(9)),
        ran_out("\nwhile True: ask()", Worker(1000, takes_s=0.2)),
        # It gave one up and had an answer after that.
        ran_out("\ntry: ask(0.3)\nexcept OSError: ask()\ntime.sleep(60)", Worker(0, 1)),
    )


async def test_a_stream_that_was_read_to_its_reply_is_not_given_up(pool):
    calls = Calls(Worker(9), TaskSlot(load_task(DATA / "repositories" / "change"), 0), "measure:1")
    asked = Ask(scope="x", worker="coder", revision="1", messages=({"role": "user", "content": "hi"},))
    stream = calls.stream(asked)
    async for chunk in stream:
        if chunk.reply is not None:
            break
    await stream.aclose()
    assert calls.unanswered_s == 0 and calls.usd == 1.0
    stream = calls.stream(asked)
    await anext(stream)
    await stream.aclose()
    assert calls.unanswered_s > 0
