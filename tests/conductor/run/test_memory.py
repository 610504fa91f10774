"""What workflows know of earlier ones of their conversation: tool results, and their own worker's steps."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.conductor.run.memory import CUT, MAX_BYTES, TOOLS, recalled, remembered
from models.conductor.run.request_run import replay
from models.conductor.run.toolcalls import continue_with, conversation_of
from models.ledger.workflows import past
from models.workers.ask import Sampling

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
WITH_TOOLS = Sampling(tools=(TOOL,))


def texts(ask) -> str:
    return " ".join(str(message["content"]) for message in ask.messages)


async def goes_on(house, plan, results, id="r2", **changes):
    """The continuation of a request that waits, as an endpoint makes it."""
    request = await asyncio.to_thread(continue_with, house.ledger, id, results, **changes)
    return await house.conduct(plan, request)


@st.composite
def talks(draw):
    """Workflows of one conversation: steps of (worker, access list, how often it calls a tool); the last sees all."""
    workflows = []
    for _ in range(draw(st.integers(2, 3))):
        steps = []
        for index in range(draw(st.integers(1, 4))):
            earlier = st.lists(st.integers(0, index - 1), unique=True) if index else st.just([])
            steps.append((draw(st.integers(0, 2)), draw(earlier), draw(st.integers(0, 2))))
        workflows.append([*steps[:-1], (steps[-1][0], "all", steps[-1][2])])
    return workflows


async def talk(house, workers, workflows, name):
    """Carry them out, one after the other; every reply and every tool result is a canary of its own."""
    for turn, steps in enumerate(workflows):
        for index, (worker, _, calls) in enumerate(steps):
            asked = [(house.tool_call(str(n), f'"{turn}.{index}.{n}"'),) for n in range(calls)]
            workers.replies["abc"[worker], index] = [*asked, f"<reply {turn}.{index}>"]
        plan = house.plan(*((worker, f"subtask {index}", access) for index, (worker, access, _) in enumerate(steps)))
        request = house.ask(f"{name}-{turn}", conversation=name, sampling=WITH_TOOLS)
        answer, number = await house.conduct(plan, request), 0
        while answer.tool_calls:
            results = {
                call["id"]: f"<result {call['function']['arguments'].strip(chr(34))}>" for call in answer.tool_calls
            }
            answer, number = await goes_on(house, plan, results, id=f"{name}-{turn}-{number}"), number + 1
        assert answer.finish_reason == "stop"


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(workflows=talks())
async def test_a_step_knows_listed_steps_its_own_turns_its_workers_past_and_all_earlier_results(
    house, workers, workflows
):
    name = uuid4().hex
    workers.asked.clear()
    await talk(house, workers, workflows, name)
    turns: Counter[tuple[int, int]] = Counter()
    for ask in workers.asked:
        turn, index = int(ask.scope.removeprefix(f"{name}-").split("/")[0]), ask.replicate
        steps, had = workflows[turn], turns[turn, index]
        access = steps[index][1]
        listed = {(turn, seen) for seen in range(index) if access == "all" or seen in access}
        own = {
            (past, step)
            for past in range(turn)
            for step, (worker, _, _) in enumerate(workflows[past])
            if "abc"[worker] == ask.worker
        }
        earlier = {
            (past, step, n)
            for past in range(turn)
            for step, (_, _, calls) in enumerate(workflows[past])
            for n in range(calls)
        }
        told = " ".join(str(message["content"]) for message in ask.messages)
        replies = {tuple(map(int, found)) for found in re.findall(r"<reply (\d)\.(\d)>", told)}
        results = {tuple(map(int, found)) for found in re.findall(r"<result (\d)\.(\d)\.(\d)>", told)}
        assert replies == listed | own
        assert results == earlier | {(turn, index, n) for n in range(had)}
        turns[turn, index] += 1
    assert all(turns[t, i] == 1 + step[2] for t, steps in enumerate(workflows) for i, step in enumerate(steps))


async def test_a_later_workflow_knows_the_results_but_not_the_steps(house, workers):
    plan, request_ = house.plan((0, "x", []), (1, "y", []), (2, "z", [0, 1])), house.ask(sampling=WITH_TOOLS)
    workers.replies["b", 1] = [(house.tool_call("1", '{"city": "Kyoto"}'),), "canary"]
    first = await house.conduct(plan, request_)
    [call] = first.tool_calls
    await goes_on(house, plan, {call["id"]: "rain in Kyoto"})
    assert await asyncio.to_thread(conversation_of, house.ledger, [call["id"]]) == "r"
    await house.conduct(house.plan((0, "later", [])), house.ask("r9", conversation="r"))
    seen = texts(workers.asked[-1])
    assert TOOLS in seen and 'weather({"city": "Kyoto"}) gave: rain in Kyoto' in seen
    assert "canary" not in seen
    told = ({"role": "user", "content": "?"}, {"role": "tool", "tool_call_id": call["id"], "content": "rain in Kyoto"})
    await house.conduct(house.plan((0, "later", [])), house.ask("r10", conversation="r", messages=told))
    assert TOOLS not in texts(workers.asked[-1])  # the conversation holds them already


async def test_the_memory_is_bounded_and_the_newest_stays(house, workers):
    for number in range(4):
        workers.replies["a"] = [(house.tool_call("1", str(number)),), "x" * (MAX_BYTES // 3)]
        request = house.ask(f"q{number}", conversation="c", sampling=WITH_TOOLS)
        first = await house.conduct(house.plan((0, f"s{number}", [])), request)
        results = {first.tool_calls[0]["id"]: "y" * (MAX_BYTES // 3)}
        await goes_on(house, "", results, id=f"a{number}")
    memory = await asyncio.to_thread(remembered, house.ledger, "c", "none", ["a"], ())
    [tools] = memory.tools
    assert "weather(3)" in tools["content"] and "weather(0)" not in tools["content"]
    assert len(tools["content"].encode()) <= MAX_BYTES + len(TOOLS) + 4
    assert [m["content"][-2:] for m in memory.own["a"] if m["role"] == "user"] == ["s1", "s2", "s3"]
    assert sum(len(m["content"].encode()) for m in memory.own["a"] if m["role"] == "assistant") <= MAX_BYTES
    assert memory.own["a"][1]["content"].endswith(CUT)  # the oldest that stays is cut to what is left
    assert await asyncio.to_thread(recalled, house.ledger, memory.kept) == memory


async def test_a_later_workflow_of_the_conversation_knows_its_own_workers_steps_and_no_others(house, workers):
    workers.replies |= {name: f"canary of {name}" for name in "ab"}
    await house.conduct(house.plan((0, "x", []), (1, "y", [0])), house.ask("first", conversation="c"))
    workers.asked.clear()
    workers.replies.clear()
    await house.conduct(house.plan((0, "p", []), (2, "q", [])), house.ask("second", conversation="c"))
    await house.conduct(house.plan((1, "p", [])), house.ask("third", conversation="other"))
    by_worker = {ask.worker: texts(ask) for ask in workers.asked}
    assert "canary of b" not in by_worker["c"] + by_worker["b"]
    assert "canary of a" not in by_worker["c"]


async def test_own_history_reaches_the_same_worker_and_a_resumed_step_sees_what_it_saw(house, workers):
    workers.replies["a"] = "canary"
    first = house.ask("first", conversation="c")
    await house.conduct(house.plan((0, "x", [])), first)
    second = house.ask("second", conversation="c")
    answer = await house.conduct(house.plan((0, "p", [])), second)
    assert texts(workers.asked[1]).count("canary") == 1
    await house.conduct(house.plan((0, "later", [])), house.ask("third", conversation="c"))
    parts = house.parts("")
    assert await replay(parts, second) == answer
    await parts.dispatcher.close()


async def test_a_reply_that_is_larger_than_all_memory_is_cut_and_not_forgotten(house, workers):
    workers.replies["a"] = "begin " + "é" * MAX_BYTES
    await house.conduct(house.plan((0, "x", [])), house.ask("first", conversation="c"))
    await house.conduct(house.plan((0, "p", [])), house.ask("second", conversation="c"))
    own = next(m["content"] for m in workers.asked[-1].messages if str(m["content"]).startswith("begin "))
    assert own.endswith(CUT) and MAX_BYTES - 8 <= len(own.encode()) <= MAX_BYTES


async def test_a_plan_keeps_where_its_memory_stands_and_not_its_texts(house, workers):
    workers.replies |= dict.fromkeys("abc", "x" * 20_000)
    plan = house.plan((0, "x", []), (1, "y", []), (2, "z", "all"))
    for number in range(4):
        request = house.ask(f"r{number}", conversation="c")
        answer = await house.conduct(plan, request)
    assert len(json.dumps(past(house.ledger, "r3").workflows["r3/0"].body)) < 4_000
    asked = len(workers.asked)
    assert await house.conduct("", request) == answer and len(workers.asked) == asked
    parts = house.parts("")
    assert await replay(parts, request) == answer
    await parts.dispatcher.close()


async def test_a_nested_round_knows_the_results_of_the_nested_one_before_and_of_no_other_step(house, workers):
    """Tool calls are the whole conversation's, so that a client finds it; its steps see their own alone."""
    request = house.ask(sampling=WITH_TOOLS, recursive=True, limits={"depth": 2})
    outer = house.plan((3, "inner", []), (2, "beside", []), (2, "z", [0, 1]))
    texts_ = [outer, house.plan((1, "deep", [])), house.plan((0, "deeper", [])), house.plan()]

    class Script:
        name = "script"

        async def write(self, request):
            return texts_.pop(0)

    workers.replies["b"] = [(house.tool_call("1"),), "deep reply"]
    workers.replies["c", 1] = [(house.tool_call("2"),), "beside reply"]
    answer, number = await house.conduct(Script(), request), 0
    while answer.tool_calls:
        known = {"b": "rain", "c": "secret"}
        results = {call["id"]: known[by_id(house, call["id"])] for call in answer.tool_calls}
        answer, number = await goes_on(house, Script(), results, id=f"r{number + 2}"), number + 1
    inner = next(ask for ask in workers.asked if ask.scope == "r/0/s0/1")
    assert "gave: rain" in texts(inner) and "secret" not in texts(inner)


def by_id(house, id):
    """The worker that called a tool."""
    [found] = [call for call in past(house.ledger, "r").tools.values() if call.id == id]
    return "b" if found.workflow == "r/0/s0/0" else "c"
