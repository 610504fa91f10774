"""A client's tools: calls name workflow and step, results come back to that very step, nothing else runs again."""

from __future__ import annotations

import asyncio

import pytest

from models.conductor.run.request_run import replay
from models.conductor.run.toolcalls import continue_with, is_ours
from models.errors import BadInput
from models.ledger.requests import record_request
from models.workers.ask import Sampling

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
WITH_TOOLS = Sampling(tools=(TOOL,))


@pytest.fixture
def request_(house):
    return house.ask(sampling=WITH_TOOLS)


@pytest.fixture
def plan(house):
    """Two steps at once, then one that sees both."""
    return house.plan((0, "x", []), (1, "y", []), (2, "z", [0, 1]))


def texts(ask) -> str:
    return " ".join(str(message["content"]) for message in ask.messages)


async def goes_on(house, plan, results, id="r2", **changes):
    """The continuation of a request that waits, as an endpoint makes it."""
    request = await asyncio.to_thread(continue_with, house.ledger, id, results, **changes)
    return await house.conduct(plan, request)


async def test_a_tool_call_goes_to_the_client_and_its_result_to_the_very_step(house, workers, plan, request_):
    workers.replies["b", 1] = [(house.tool_call("call_1", '{"city": "Kyoto"}'),), "rain there"]
    first = await house.conduct(plan, request_)
    assert (first.text, first.finish_reason) == (None, "tool_calls")
    [call] = first.tool_calls
    assert is_ours(call["id"]) and call["function"] == {"name": "weather", "arguments": '{"city": "Kyoto"}'}
    assert workers.steps() == [0, 1]  # the last step sees what is not there yet
    second = await goes_on(house, plan, {call["id"]: "rain"})
    assert workers.steps() == [0, 1, 1, 2]
    *before, said, told = workers.asked[2].messages
    assert before == list(workers.asked[1].messages)
    assert said["tool_calls"] == [house.tool_call("call_1", '{"city": "Kyoto"}')]
    assert told == {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
    assert "rain there" in texts(workers.asked[3])
    assert (second.text, second.finish_reason, second.calls) == ("c to step 2", "stop", 2)
    assert first.calls == 2


async def test_calls_of_several_steps_go_out_together_and_come_back_together(house, workers, plan, request_):
    for worker, step, calls in (("a", 0, ("k", "l")), ("b", 1, ("k",))):
        workers.replies[worker, step] = [tuple(house.tool_call(name) for name in calls), f"{worker} knows"]
    first = await house.conduct(plan, request_)
    ids = [call["id"] for call in first.tool_calls]
    assert len(set(ids)) == 3
    with pytest.raises(BadInput, match="is missing"):
        await goes_on(house, plan, dict.fromkeys(ids[:2], "r"))
    results = {id: f"result {number}" for number, id in enumerate(ids)}
    assert (await goes_on(house, plan, results)).text == "c to step 2"
    again = {ask.replicate: ask for ask in workers.asked[2:4]}
    assert [m["content"] for m in again[0].messages if m["role"] == "tool"] == ["result 0", "result 1"]
    assert [m["content"] for m in again[1].messages if m["role"] == "tool"] == ["result 2"]


async def test_a_step_may_call_tools_again_and_again(house, workers, request_):
    workers.replies["a"] = [(house.tool_call("1"),), (house.tool_call("1"),), "done"]
    plan = house.plan((0, "x", []))
    first = await house.conduct(plan, request_)
    second = await goes_on(house, plan, {first.tool_calls[0]["id"]: "one"})
    assert second.tool_calls[0]["id"] != first.tool_calls[0]["id"]
    third = await goes_on(house, plan, {second.tool_calls[0]["id"]: "two"}, id="r3")
    assert third.text == "done"
    assert [m["content"] for m in workers.asked[-1].messages if m["role"] == "tool"] == ["one", "two"]


async def test_a_client_that_repeats_itself_pays_nothing_and_one_that_changes_its_mind_is_refused(
    house, workers, plan, request_
):
    workers.replies["a", 0] = [(house.tool_call("1"),), "fine"]
    first = await house.conduct(plan, request_)
    results = {first.tool_calls[0]["id"]: "sun"}
    second = await goes_on(house, plan, results)
    asked = len(workers.asked)
    assert (await goes_on(house, plan, results, id="r3")).text == second.text
    assert len(workers.asked) == asked
    with pytest.raises(BadInput, match="another result"):
        await goes_on(house, plan, {first.tool_calls[0]["id"]: "snow"}, id="r4")


async def test_every_request_of_a_chain_replays_as_it_was_whatever_came_later(house, workers, plan, request_):
    workers.replies["a", 0] = [(house.tool_call("1"),), (house.tool_call("2"),), "fine"]
    answers, requests = [await house.conduct(plan, request_)], [request_]
    for number in (2, 3):
        results = {answers[-1].tool_calls[0]["id"]: f"result {number}"}
        requests.append(await asyncio.to_thread(continue_with, house.ledger, f"r{number}", results))
        answers.append(await house.conduct(plan, requests[-1]))
    parts = house.parts("")
    asked = len(workers.asked)
    assert [await replay(parts, request) for request in requests] == answers
    assert len(workers.asked) == asked
    assert requests[-1].chain == ("r", "r2") and requests[-1].continues == "r2"
    await parts.dispatcher.close()


async def test_a_killed_continuation_goes_on_where_it_was(house, workers, plan, request_):
    workers.replies["a", 0] = [(house.tool_call("1"),), "fine"]
    workers.arrived = {2: asyncio.Event()}
    first = await house.conduct(plan, request_)
    workers.gates = {2: asyncio.Event()}
    task = asyncio.create_task(goes_on(house, plan, {first.tool_calls[0]["id"]: "sun"}))
    await workers.arrived[2].wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    workers.gates.clear()
    workers.asked.clear()
    assert (await goes_on(house, plan, {first.tool_calls[0]["id"]: "sun"})).text == "c to step 2"
    assert workers.steps() == [2]


async def test_what_the_client_asks_for_anew_shapes_the_calls_from_then_on(house, workers, request_):
    workers.replies["a"] = [(house.tool_call("1"),), "fine"]
    plan = house.plan((0, "x", []))
    first = await house.conduct(plan, request_)
    later = WITH_TOOLS.model_copy(update={"tool_choice": "none"})
    await goes_on(house, plan, {first.tool_calls[0]["id"]: "sun"}, sampling=later)
    assert [ask.sampling.tool_choice for ask in workers.asked] == [None, "none"]


@pytest.mark.parametrize("later", [Sampling(), Sampling(temperature=0.5, seed=3), Sampling(tool_choice="auto")])
async def test_a_continuation_without_tools_goes_on_at_the_turn_that_called_them(house, workers, plan, request_, later):
    """Whatever else it asks for."""
    workers.replies["a", 0] = [(house.tool_call("1"),), (house.tool_call("2"),), "fine"]
    first = await house.conduct(plan, request_)
    second = await goes_on(house, plan, {first.tool_calls[0]["id"]: "sun"}, sampling=later)
    assert second.finish_reason == "tool_calls"
    third = await goes_on(house, plan, {second.tool_calls[0]["id"]: "rain"}, id="r3", sampling=later)
    assert third.text == "c to step 2" and "fine" in texts(workers.asked[-1])
    assert all(ask.sampling.tools == (TOOL,) for ask in workers.asked)


async def test_tools_inside_a_step_of_the_conductors_own_come_back_to_it(house, workers):
    request = house.ask(sampling=WITH_TOOLS, recursive=True)
    texts_ = [house.plan((3, "inner", []), (2, "z", [0])), house.plan((1, "deep", [])), house.plan()]

    class Script:
        name = "script"

        async def write(self, request):
            return texts_.pop(0)

    workers.replies["b"] = [(house.tool_call("1"),), "deep reply"]
    first = await house.conduct(Script(), request)
    second = await goes_on(house, Script(), {first.tool_calls[0]["id"]: "sun"})
    assert second.text == "c to step 1"
    assert [ask.scope for ask in workers.asked] == ["r/0/s0/0", "r/0/s0/0", "r/0"]
    assert "deep reply" in texts(workers.asked[-1])


async def test_who_asks_without_tools_gets_no_tool_calls(house, workers):
    workers.replies["a"] = (house.tool_call("1"),)
    record_request(house.ledger, {"id": "r"})
    answer = await house.conduct(house.plan((0, "x", [])))
    assert (answer.tool_calls, answer.finish_reason) == ((), "stop")
