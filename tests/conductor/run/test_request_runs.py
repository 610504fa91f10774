"""Steps: in parallel where the access lists allow, each once, joined by whoever asks, given on when a worker fails."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.conductor.plan.writers import PromptedWriter
from models.conductor.run.planner import asker
from models.conductor.run.step_run import StepRun
from models.errors import LedgerAway, TransientError, UpstreamRefused, UpstreamUnavailable, WorkflowFailed
from models.ledger.accounts import spend
from models.ledger.requests import record_request
from models.ledger.workflows import past


def texts(ask):
    return " ".join(str(message["content"]) for message in ask.messages)


async def test_a_chain_runs_in_order_and_its_last_step_answers(house, workers):
    plan = house.plan((0, "first", []), (1, "second", [0]), (2, "third", [1]))
    answer = await house.conduct(plan)
    assert (answer.text, answer.worker, answer.finish_reason) == ("c to step 2", "c", "stop")
    assert workers.steps() == [0, 1, 2]
    assert "a to step 0" in texts(workers.asked[1]) and "a to step 0" not in texts(workers.asked[2])
    assert all("Who painted it" in texts(ask) for ask in workers.asked)
    assert (answer.calls, answer.cost_usd) == (3, 3.0)
    assert (answer.usage.total_tokens, answer.orchestration.total_tokens) == (12, 24)


async def test_independent_steps_run_together_and_a_step_starts_when_those_it_sees_are_done(house, workers):
    workers.gates = {0: asyncio.Event(), 1: asyncio.Event()}
    workers.arrived = {index: asyncio.Event() for index in range(4)}
    plan = house.plan((0, "x", []), (1, "y", []), (2, "after x", [0]), (0, "all", "all"))
    task = asyncio.create_task(house.conduct(plan))
    await asyncio.gather(workers.arrived[0].wait(), workers.arrived[1].wait())
    workers.gates[0].set()
    await workers.arrived[2].wait()  # step 1 still runs
    assert not workers.arrived[3].is_set()
    workers.gates[1].set()
    assert (await task).text == "a to step 3"


async def test_two_equal_steps_are_two_samples(house, workers):
    answer = await house.conduct(house.plan((0, "guess", []), (0, "guess", []), (1, "judge", [0, 1])))
    assert sorted(workers.steps()) == [0, 1, 2]
    assert answer.calls == 3


async def test_whoever_asks_for_a_step_joins_the_one_execution_of_it(house, workers):
    workers.gates = {0: asyncio.Event()}
    workers.arrived = {0: asyncio.Event()}
    request_run = house.open(house.plan((0, "x", []), (1, "y", [0]))).open(house.ask())
    task = asyncio.create_task(request_run.answer())
    workflow_run = await request_run.round(0)
    joined = [asyncio.create_task(workflow_run.step(1)), asyncio.create_task(workflow_run.attempt(0))]
    await workers.arrived[0].wait()
    workers.gates[0].set()
    assert [(await one).state for one in joined] == ["done", "done"]
    await task
    assert workers.steps() == [0, 1]
    assert (await workflow_run.attempt(1)).text == "b to step 1"
    assert await request_run.round(1) is None


async def test_repeats_by_steps_keep_to_the_dispatchers_budget_and_do_not_enlarge_it(house, workers):
    workers.replies["a"] = UpstreamUnavailable("away")
    steps = [(0, f"part {number}", []) for number in range(4)]
    answer = await house.conduct(house.plan(*steps, (1, "all", "all")))
    assert answer.text == "b to step 4"
    asked = [ask.worker for ask in workers.asked]
    assert asked.count("a") == 4 + 3 and asked.count("c") == 4  # of 8 wanted repeats three, then another worker


async def test_repeats_by_plans_keep_to_it_too(house, workers):
    workers.replies["boss"] = UpstreamUnavailable("away")
    runs = house.open(PromptedWriter(asker("boss")))
    asked = [house.ask(f"r{number}") for number in range(4)]
    for one in asked:
        record_request(house.ledger, {"id": one.id, "request": one.model_dump(mode="json")})
    answers = await asyncio.gather(*(runs.open(one).answer() for one in asked))
    assert {answer.text for answer in answers} == {"c to step 0"}  # the plan of one step, by the router
    assert [ask.worker for ask in workers.asked].count("boss") == 4 + 3


async def test_a_transient_failure_is_raised_to_all_who_joined_and_they_meet_in_the_next_try(house, workers):
    workers.replies["a"] = [UpstreamUnavailable("away"), UpstreamUnavailable("away"), "back"]
    workers.gates = {0: asyncio.Event()}
    workers.arrived = {0: asyncio.Event()}
    request_run = house.open(house.plan((0, "x", []))).open(house.ask())
    task = asyncio.create_task(request_run.answer())
    workflow_run = await request_run.round(0)
    await workers.arrived[0].wait()
    joined = asyncio.create_task(workflow_run.attempt(0))
    await asyncio.sleep(0)  # it begins
    workers.gates[0].set()
    with pytest.raises(TransientError):
        await joined
    assert (await workflow_run.step(0)).text == "back"
    assert (await task).text == "back"
    assert workers.steps() == [0, 0, 0]


async def test_tries_are_counted_over_all_who_join_then_the_next_best_worker_has_the_step(house, workers):
    workers.replies["a"] = UpstreamUnavailable("away")
    request_run = house.open(house.plan((0, "x", []), (1, "y", [0]))).open(house.ask())
    task = asyncio.create_task(request_run.answer())
    workflow_run = await request_run.round(0)
    records = await asyncio.gather(*(workflow_run.step(0) for _ in range(5)))
    assert {(record.worker, record.tried) for record in records} == {("c", ("a",))}
    assert (await task).text == "b to step 1"
    assert [(ask.worker, ask.replicate) for ask in workers.asked] == [("a", 0)] * 3 + [("c", 0), ("b", 1)]
    assert house.ranked[-1][1] == ["b", "c"]


async def test_a_refused_step_goes_to_the_next_at_once_and_the_choice_is_on_disk_before_it_is_asked(house, workers):
    workers.replies["a"] = UpstreamRefused("no", 403)
    workers.gates = {}
    rows = []

    async def rank(messages, allowed):
        return ["b", "c"]

    complete = workers.complete

    async def watched(ask):
        rows.append(past(house.ledger, "r").steps.get(("r/0", 0)))
        return await complete(ask)

    workers.complete = watched
    await house.conduct(house.plan((0, "x", [])), rank=rank)
    assert rows[0] is None
    assert (rows[1].worker, rows[1].tried) == ("b", ("a",))


async def test_a_step_that_fails_everywhere_fails_the_workflow_by_its_name_and_what_is_finished_stays_paid(
    house, workers
):
    workers.replies |= {(name, 1): UpstreamRefused("no", 403) for name in "abc"}
    plan = house.plan((0, "good", []), (1, "bad one", []), (2, "end", [0, 1]), (0, "last", [2]))
    with pytest.raises(WorkflowFailed, match=r"step 2 .'bad one'.*b, c, a: no") as failed:
        await house.conduct(plan)
    assert (failed.value.step, failed.value.workflow) == (1, "r/0")
    workers.replies.clear()
    workers.asked.clear()
    assert (await house.conduct(plan)).text == "a to step 3"  # the same request again
    assert workers.steps() == [1, 2, 3]
    assert spend(house.ledger, "r/0")["usd"] == 4.0


async def test_calls_that_are_paid_for_when_a_step_fails_are_waited_for_and_no_new_one_is_begun(house, workers):
    workers.replies |= {(name, 0): UpstreamRefused("no", 403) for name in "abc"}
    workers.gates = {1: asyncio.Event()}
    workers.arrived = {1: asyncio.Event()}
    plan = house.plan((0, "bad", []), (1, "slow", []), (1, "after slow", [1]), (2, "end", [0, 2]))
    request_run = house.open(plan).open(house.ask())
    task = asyncio.create_task(request_run.answer())
    await workers.arrived[1].wait()
    with pytest.raises(WorkflowFailed):
        await request_run.rounds[0].step(0)
    workers.gates[1].set()
    with pytest.raises(WorkflowFailed):
        await task
    assert 2 not in workers.steps()
    assert spend(house.ledger, "r/0")["settled"] == 1


async def test_who_leaves_last_cancels_what_is_under_way(house, workers):
    workers.gates = {0: asyncio.Event()}
    workers.arrived = {0: asyncio.Event()}
    request_runs = house.open(house.plan((0, "x", [])))
    waiting = [asyncio.create_task(request_runs.open(house.ask()).answer()) for _ in range(2)]
    await workers.arrived[0].wait()
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    assert workers.running == 1
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert workers.running == 0
    assert spend(house.ledger, "r/0")["maybe_paid"] == 1


@st.composite
def plans(draw):
    steps = []
    for index in range(draw(st.integers(1, 5))):
        earlier = st.lists(st.integers(0, index - 1), unique=True) if index else st.just([])
        steps.append((draw(st.integers(0, 2)), f"subtask {index}", draw(earlier | st.just("all"))))
    return steps


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=plans())
async def test_no_context_holds_the_reply_of_a_step_that_is_not_listed(house, workers, steps):
    number = uuid4().hex
    workers.replies = {(name, i): f"canary-{i}-{number}" for name in "abc" for i in range(5)}
    workers.asked.clear()
    request = house.ask(f"r-{number}")
    answer = await house.conduct(house.plan(*steps), request)
    told = answer.trace["rounds"][0]["steps"]
    assert len(workers.asked) == len(told)
    for asked in workers.asked:
        index = asked.replicate
        seen = {told[other]["number"] for other in range(len(told)) if f"canary-{other}-{number}" in texts(asked)}
        assert seen == set(told[index]["sees"]) <= set(range(1, told[index]["number"]))
        assert f"Step {told[index]['number']}, your subtask: {told[index]['subtask']}" in texts(asked)


@pytest.mark.parametrize("error", [AttributeError("no such method"), LedgerAway("the disk is full")])
async def test_a_step_that_ends_by_any_error_ends_the_request_with_that_error(house, monkeypatch, error):
    """Also where other steps wait for it, and where the error says that a later try may succeed."""

    async def broken(self, seen):
        raise error

    monkeypatch.setattr(StepRun, "walk", broken)
    plan = house.plan((0, "x", []), (1, "y", [0]), (2, "z", [0, 1]))
    with pytest.raises(type(error), match=str(error)):
        await asyncio.wait_for(house.conduct(plan), 20)
