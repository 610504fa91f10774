"""Limits, before and during: what is over them is not asked, and the best that is finished is the answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from models.conductor.plan.writers import FixedWriter, PromptedWriter
from models.conductor.run.meter import Meter
from models.conductor.run.planner import asker
from models.conductor.run.request import Limits
from models.conductor.run.request_run import RequestRuns, replay
from models.errors import LimitReached, UpstreamUnavailable
from models.ledger.budgets import open_budget
from models.ledger.requests import record_request
from models.workers.dispatch import Dispatcher

ONE = 1.01
"""USD: more than the worst case of a call in these tests, which cost 1."""


def limits(**given) -> dict:
    return {"limits": given}


async def test_a_plan_whose_worst_case_is_over_the_limit_is_refused_before_anything_is_paid(house, workers):
    plan = house.plan((0, "x", []), (1, "y", [0]))
    answer = await house.conduct(plan, house.ask(**limits(max_usd=ONE)))
    assert len(workers.asked) == 1
    [told] = answer.trace["rounds"]
    assert "may cost" in told["fallback"]
    assert (answer.worker, answer.finish_reason) == ("c", "stop")


async def test_nothing_is_asked_where_not_even_one_call_fits(house, workers):
    with pytest.raises(LimitReached, match="max_usd") as reached:
        await house.conduct(house.plan((0, "x", [])), house.ask(**limits(max_usd=0.5)))
    assert workers.asked == [] and reached.value.limit == "max_usd"


async def test_a_plan_may_have_as_many_steps_as_calls_are_left(house, workers):
    plan = house.plan((0, "x", []), (1, "y", [0]), (2, "z", [1]))
    answer = await house.conduct(plan, house.ask(**limits(max_calls=2)))
    assert len(workers.asked) == 1
    assert "at most 2" in answer.trace["rounds"][0]["fallback"]


@pytest.mark.parametrize(("limit", "most"), [("max_calls", 3), ("max_usd", 3 * ONE)])
async def test_over_a_limit_the_last_finished_step_answers_and_the_trace_says_why(house, workers, limit, most):
    """A try that fails, and may have been paid, takes what the third step would have needed."""
    workers.replies |= {"a": [UpstreamUnavailable("away", maybe_paid=True), "first"], "b": "second"}
    request = house.ask(**limits(**{limit: most}))
    answer = await house.conduct(house.plan((0, "x", []), (1, "y", [0]), (2, "z", [1])), request)
    assert (answer.text, answer.finish_reason, answer.worker) == ("second", "length", "b")
    [told] = answer.trace["rounds"]
    assert answer.trace["ended"] == limit
    assert [step["state"] for step in told["steps"]] == ["done", "done", "passed over"]
    parts = house.parts("")
    assert await replay(parts, request) == answer
    await parts.dispatcher.close()


async def test_when_the_time_is_over_what_is_finished_answers_and_what_runs_is_cancelled(house, workers):
    workers.gates = {1: asyncio.Event()}
    plan = house.plan((0, "x", []), (1, "y", [0]), (2, "z", [1]))
    request = house.ask(**limits(max_seconds=1.5))  # the first step is done long before
    answer = await house.conduct(plan, request)
    assert (answer.text, answer.finish_reason, answer.trace["ended"]) == ("a to step 0", "length", "max_seconds")
    assert workers.running == 0
    parts = house.parts("")
    assert await replay(parts, request) == answer
    await parts.dispatcher.close()


async def test_when_the_time_is_over_before_anything_is_finished_the_limit_is_the_error(house, workers):
    workers.gates = {0: asyncio.Event()}
    plan, request = house.plan((0, "x", [])), house.ask(**limits(max_seconds=0.2))
    with pytest.raises(LimitReached, match="max_seconds") as first:
        await house.conduct(plan, request)
    parts = house.parts("")
    with pytest.raises(LimitReached) as second:
        await replay(parts, request)
    assert (str(second.value), second.value.limit) == (str(first.value), "max_seconds")
    workers.gates.clear()
    request_runs = house.open(plan)  # the same request again, in time
    answer = await request_runs.open(request).answer()
    await request_runs.flush()
    assert answer.finish_reason == "stop" and await replay(parts, request) == answer
    await parts.dispatcher.close()


async def test_a_request_whose_time_was_over_before_it_had_a_plan_ends_the_same_way_in_a_replay(house, workers):
    class Slow(FixedWriter):
        async def write(self, request):
            await asyncio.Event().wait()

    request = house.ask(**limits(max_seconds=0.1))
    with pytest.raises(LimitReached, match="max_seconds") as first:
        await house.conduct(Slow(""), request)
    parts = house.parts("")
    with pytest.raises(LimitReached) as second:
        await replay(parts, request)
    assert str(second.value) == str(first.value)
    await parts.dispatcher.close()


async def test_joined_steps_end_as_passed_over_when_the_time_is_over(house, workers):
    workers.gates = {1: asyncio.Event()}
    request_run = house.open(house.plan((0, "x", []), (1, "y", [0]))).open(house.ask(**limits(max_seconds=0.2)))
    task = asyncio.create_task(request_run.answer())
    workflow_run = await request_run.round(0)
    assert (await workflow_run.step(1)).state == "passed over"
    assert (await task).text == "a to step 0"
    assert (await request_run.outcome()) == await task


async def test_one_budget_over_all_rounds_and_the_last_whole_answer_stands(house, workers):
    plan = house.plan((0, "x", []), (1, "y", "all"))
    request = house.ask(recursive=True, **limits(max_usd=3.5 * ONE, depth=3))
    answer = await house.conduct(plan, request)
    assert len(workers.asked) <= 3
    assert answer.text == "b to step 1"


async def test_one_budget_over_all_requests_of_a_chain_also_after_a_kill(house, workers):
    plan = house.plan((0, "x", []), (1, "y", [0]))
    request = house.ask(**limits(max_calls=2))
    workers.arrived, workers.gates = {1: asyncio.Event()}, {1: asyncio.Event()}
    task = asyncio.create_task(house.conduct(plan, request))
    await workers.arrived[1].wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    workers.gates.clear()
    answer = await house.conduct(plan, request)  # the call that was in flight may have been paid: it was the second
    assert (answer.text, answer.finish_reason) == ("a to step 0", "length")
    assert len(workers.asked) == 2


async def test_the_plans_own_call_counts(house, workers):
    workers.replies["boss"] = house.plan((0, "x", []))
    with pytest.raises(LimitReached):
        await house.conduct(PromptedWriter(asker("boss")), house.ask(**limits(max_calls=1)))
    assert [ask.worker for ask in workers.asked] == ["boss"]


@pytest.mark.parametrize("most", [0.5, 2.1])
async def test_a_spent_budget_of_many_requests_is_a_limit_of_money_like_their_own(house, workers, most):
    """The best finished answer stands, and a replay says the same; where nothing is finished, the limit is raised."""
    open_budget(house.ledger, "all", most)
    plan = house.plan((0, "x", []), (1, "y", [0]), (2, "z", [1]))
    request = house.ask()
    record_request(house.ledger, {"id": request.id, "request": request.model_dump(mode="json")})
    parts = house.parts(plan)
    dispatcher = Dispatcher(house.ledger, house.pool, workers, budget="all", retry=parts.retry)
    request_runs = RequestRuns(replace(parts, dispatcher=dispatcher))
    try:
        answer = await request_runs.open(request).answer()
        assert most > 1 and (answer.text, answer.finish_reason) == ("b to step 1", "length")
        assert answer.trace["ended"] == "max_usd" and len(workers.asked) == 2
        assert await replay(parts, request) == answer
    except LimitReached as reached:
        assert most < 1 and reached.limit == "max_usd" and workers.asked == []
    finally:
        for each in (request_runs, dispatcher, parts.dispatcher):
            await each.close()


async def test_a_reservation_waits_while_a_running_call_may_leave_something_over():
    meter = Meter(Limits(max_usd=1.0))
    await meter.enter(0.9)
    waiting = asyncio.create_task(meter.enter(0.9))
    await asyncio.sleep(0)  # it begins
    assert not waiting.done()
    meter.leave(0.9, 0.05)
    await waiting
    meter.leave(0.9, 0.5)
    with pytest.raises(LimitReached):
        await meter.enter(0.9)
    assert meter.ended == "max_usd"
    with pytest.raises(LimitReached):
        await meter.enter(0.0)
