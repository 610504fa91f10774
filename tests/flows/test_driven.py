"""Prefect runs the workflows of a batch: what its tasks do is done, and nothing else is."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from contextlib import suppress
from uuid import uuid4

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling
from request_rows import recent_requests
from sqlalchemy import select

from flows.conduct import conduct
from models.errors import LimitReached, NotFound, UpstreamRefused, UpstreamUnavailable, WorkflowFailed
from models.ledger.tables import calls, steps, tries, workflows
from models.workers.ask import Reply
from models.workers.client import Client
from tasks import step as step_tasks
from tasks.setup.settings import open_ledger

pytestmark = pytest.mark.usefixtures("prefect_server")

DIAMOND = {
    "model_id": [0, 1, 2, 0],
    "subtasks": ["top", "left", "right", "join"],
    "access_list": [[], [0], [0], [1, 2]],
}
CHAIN = {"model_id": [0, 1, 2], "subtasks": ["x", "y", "z"], "access_list": [[], [0], [1]]}
PAIR = {"model_id": [0, 1], "subtasks": ["one", "two"], "access_list": [[], [0]]}


@pytest.fixture(autouse=True)
def pool(home, monkeypatch):
    """Three workers of a provider that the tests stand for."""
    monkeypatch.setenv("FUGU_SHOW_TEXTS", "true")
    price = {"input_per_million": 1.0, "output_per_million": 500_000.0}
    people = [
        {"name": name, "model": f"openai/{name}", "price": price, "limits": {"max_output_tokens": 2}} for name in "abc"
    ]
    (home / "three.yaml").write_text(yaml.safe_dump({"workers": people}))
    return str(home / "three.yaml")


class Provider:
    """Answers in the place of `Client`. `faults`: exceptions by worker, raised one by one; `hold`: until it is set."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.faults: dict[str, list[Exception]] = {}
        self.plans: list[str] = []
        self.holds: set[str] = set()
        self.release = asyncio.Event()

    async def complete(self, client, ask):
        said = str(ask.messages[-1]["content"])
        self.asked.append(f"{ask.worker} {ask.replicate}")
        if ask.worker in self.holds:
            while not self.release.is_set():
                await asyncio.sleep(0.02)  # the event belongs to another loop
        if faults := self.faults.get(ask.worker):
            raise faults.pop(0)
        text = self.plans.pop(0) if ask.replicate < 0 and self.plans else f"{ask.worker} to {said[-20:]}"
        return Reply(worker=ask.worker, revision=ask.revision, text=text, cost_usd=0.1, seconds=0.01)


@pytest.fixture
def provider(monkeypatch):
    provider = Provider()

    async def complete(client, ask):
        return await provider.complete(client, ask)

    monkeypatch.setattr(Client, "complete", complete)
    return provider


@pytest.fixture
def planned(home):
    """A plan in a file, as a conductor."""

    def make(columns) -> str:
        (home / "plan.txt").write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in columns.items()))
        return f"fixed:{home / 'plan.txt'}"

    return make


def a_question() -> str:
    """One of its own: Prefect's results outlive a test's ledger."""
    return f"What is it? {uuid4().hex}"


async def subflows(parent_name: str = "conduct"):
    async with get_client() as client:
        found = await client.read_flow_runs(sort="START_TIME_DESC", limit=50)
        [outer, *_] = [run for run in found if run.name.startswith(parent_name)]
        wanted = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[outer.id]))
        return outer, await client.read_flow_runs(flow_run_filter=wanted)


async def tasks_of(run, count: int):
    """The task runs of a flow run, once the server has recorded so many."""
    async with get_client() as client:
        async with asyncio.timeout(20):
            while True:
                wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
                found = await client.read_task_runs(flow_run_filter=wanted)
                if len(found) >= count and all(task.state is not None and task.state.is_final() for task in found):
                    return found
                await asyncio.sleep(0.1)  # the server records them when it comes to it, and says nothing


async def test_without_the_body_of_run_step_no_step_is_asked(pool, provider, planned, monkeypatch):
    async def nothing(of, round, index, label, sees):
        return "nothing"

    monkeypatch.setattr(step_tasks.run_step, "fn", nothing)
    with pytest.raises(LimitReached):
        await conduct([a_question()], pool=pool, conductor=planned(PAIR), max_usd=100.0)
    assert provider.asked == []


async def test_without_the_body_of_plan_round_nobody_is_asked(pool, provider, monkeypatch):
    async def nothing(of, round):
        return "nothing"

    monkeypatch.setattr(step_tasks.plan_round, "fn", nothing)
    with pytest.raises(NotFound, match="no plan"):
        await conduct([a_question()], pool=pool, conductor="worker:a", max_usd=100.0)
    assert provider.asked == []


async def test_a_diamond_is_four_tasks_whose_inputs_are_those_that_they_see(pool, provider, planned):
    [answer] = await conduct([a_question()], pool=pool, conductor=planned(DIAMOND), max_usd=100.0)
    assert answer.startswith("a to") and sorted(provider.asked) == ["a 0", "a 3", "b 1", "c 2"]
    _, [run] = await subflows()
    tasks = {task.name.split(":")[0]: task for task in await tasks_of(run, 5)}
    ids = {str(task.id): name for name, task in tasks.items()}
    sees = {
        name: sorted(ids[str(given.id)] for given in task.task_inputs.get("sees", []))
        for name, task in tasks.items()
        if name.startswith("step")
    }
    assert sees == {"step 1": [], "step 2": ["step 1"], "step 3": ["step 1"], "step 4": ["step 2", "step 3"]}


async def test_transient_faults_are_retries_of_the_task_and_the_last_one_moves_the_step_to_another_worker(
    pool, provider, planned
):
    provider.faults = {"a": [UpstreamUnavailable("away")] * 4, "c": [UpstreamRefused("no", 403)]}
    [answer] = await conduct([a_question()], pool=pool, conductor=planned({**PAIR, "model_id": [0, 2]}), max_usd=100.0)
    assert answer
    counts = Counter(asked.split()[0] for asked in provider.asked)
    assert counts["a"] >= 4 and counts["c"] >= 1
    _, [run] = await subflows()
    by_name = {task.name.split(":")[0]: task for task in await tasks_of(run, 3)}
    assert by_name["step 1"].run_count == 4 and by_name["step 2"].run_count == 1
    ledger = open_ledger()
    with ledger.reading() as connection:
        failed = connection.execute(select(tries.c.transient).where(tries.c.status == "failed")).scalars().all()
    ledger.close()
    assert sorted(map(bool, failed)) == [False, True, True, True, True]


async def test_a_step_that_nobody_can_take_fails_the_question_and_names_itself(pool, provider, planned):
    provider.faults = {name: [UpstreamRefused("no", 403)] * 9 for name in "abc"}
    with pytest.raises(WorkflowFailed, match=r"step 1 .* failed on a, b, c"):
        await conduct([a_question()], pool=pool, conductor=planned(CHAIN), max_usd=100.0)
    assert len(provider.asked) == 3
    _, [run] = await subflows()
    assert run.state.is_failed()
    states = {task.name.split(":")[0]: task.state for task in await tasks_of(run, 4)}
    assert states["step 1"].is_failed()
    assert states["step 2"].name == states["step 3"].name == "PassedOver"


async def test_a_result_is_taken_while_the_ledger_has_what_it_stands_for(home, pool, provider, planned):
    question, plan = a_question(), planned(PAIR)
    first = await conduct([question], pool=pool, conductor=plan, max_usd=100.0)
    assert await conduct([question], pool=pool, conductor=plan, max_usd=100.0) == first and len(provider.asked) == 2
    _, [run] = await subflows()
    assert {task.state.name for task in await tasks_of(run, 3)} == {"Cached"}
    ledger = open_ledger()
    with ledger.transaction() as connection:
        for table in (calls, tries, steps, workflows):
            connection.execute(table.delete())
    ledger.close()
    assert await conduct([question], pool=pool, conductor=plan, max_usd=100.0) == first and len(provider.asked) == 4


async def test_a_home_that_was_copied_with_its_ledger_pays_nothing(
    home, pool, provider, planned, copy_ledger, new_url, monkeypatch, tmp_path
):
    question, plan = a_question(), planned(PAIR)
    first = await conduct([question], pool=pool, conductor=plan, max_usd=100.0)
    ledger = open_ledger()
    ledger.close()
    shutil.copytree(home, tmp_path / "copy")
    copy_ledger(ledger.url, tmp_path / "copy")
    assert await conduct([question], pool=pool, conductor=plan, max_usd=100.0) == first and len(provider.asked) == 2
    monkeypatch.setenv("FUGU_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("FUGU_LEDGER_URL", new_url(tmp_path / "other"))
    other = open_ledger()
    other.create_schema()
    other.close()
    await conduct([question], pool=pool, conductor=plan, max_usd=100.0)
    assert len(provider.asked) == 4


async def test_a_step_of_the_conductor_itself_is_a_subflow_and_recursion_another_plan(pool, provider):
    whole = "\n".join(["model_id = [0, 3]", 'subtasks = ["find", "think it over"]', "access_list = [[], [0]]"])
    inner = "\n".join(["model_id = [1]", 'subtasks = ["deep"]', "access_list = [[]]"])
    accepts = "model_id = []\nsubtasks = []\naccess_list = []"
    provider.plans = [whole, inner, accepts]
    [answer] = await conduct([a_question()], pool=pool, conductor="worker:a", recursive=True, max_usd=100.0)
    assert answer.startswith("b to")
    _, runs = await subflows()
    assert len(runs) == 1
    tasks = await tasks_of(runs[0], 5)  # the subflow has one, too
    assert sorted(task.name.split(":")[0] for task in tasks if not task.name.startswith("workflow")) == [
        "plan of round 0", "plan of round 1", "step 1", "step 2",
    ]  # fmt: skip
    async with get_client() as client:
        wanted = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[runs[0].id]))
        assert len(await client.read_flow_runs(flow_run_filter=wanted)) == 1


async def test_a_limit_holds_over_the_steps_and_the_best_finished_answer_stands(pool, provider, planned):
    provider.faults = {"a": [UpstreamUnavailable("away", maybe_paid=True)]}
    await conduct([a_question()], pool=pool, conductor=planned(CHAIN), max_usd=100.0, max_calls_each=3)
    ledger = open_ledger()
    [row] = recent_requests(ledger)
    ledger.close()
    assert (row["trace"]["ended"], row["body"]["finish_reason"], len(provider.asked)) == ("max_calls", "length", 3)
    _, [run] = await subflows()
    assert [task.state.name for task in await tasks_of(run, 4)].count("PassedOver") == 1


async def test_a_limit_that_keeps_a_round_from_being_planned_is_the_end_of_the_request(pool, provider):
    provider.plans = ["model_id = [1]\nsubtasks = ['x']\naccess_list = [[]]"]
    await conduct([a_question()], pool=pool, conductor="worker:a", recursive=True, max_usd=100.0, max_calls_each=2)
    ledger = open_ledger()
    [row] = recent_requests(ledger)
    ledger.close()
    assert (row["trace"]["ended"], len(provider.asked)) == ("max_calls", 2)


@pytest.mark.parametrize("limit", [{"max_calls_each": 1}, {"max_usd_each": 0.5}, {"max_seconds_each": 0.001}])
async def test_whatever_a_limit_leaves_out_all_tasks_end(pool, provider, planned, limit):
    with suppress(LimitReached):
        await conduct([a_question()], pool=pool, conductor=planned(CHAIN), max_usd=100.0, **limit)
    assert len(provider.asked) <= 1
    _, [run] = await subflows()
    await tasks_of(run, 1)


async def until(reached):
    async with asyncio.timeout(20):
        while not reached():
            await asyncio.sleep(0.02)  # what is reached is any condition


@pytest.mark.parametrize("conductor", ["worker:a", None])
@pytest.mark.parametrize("fault", [None, UpstreamUnavailable("away"), UpstreamRefused("no", 403)])
async def test_what_is_cancelled_at_its_first_call_ends_however_that_ends(pool, provider, planned, conductor, fault):
    provider.holds = {"a"}
    provider.faults = {"a": [fault] * 9} if fault else {}
    conductor = conductor or planned({**CHAIN, "model_id": [0, 0, 0]})
    running = asyncio.create_task(
        conduct([a_question()], pool=pool, conductor=conductor, max_usd=100.0, return_state=True)
    )
    await until(lambda: len(provider.asked) == 1)
    _, [run] = await subflows()
    async with get_client() as client:
        await client.set_flow_run_state(run.id, Cancelling(), force=True)
        await asyncio.sleep(2)  # longer than it takes to be seen: that nothing happens has no event
        provider.release.set()
        await asyncio.wait_for(running, 20)
        assert (await client.read_flow_run(run.id)).state.is_cancelled()
    await tasks_of(run, 1)
    assert len(provider.asked) == 1


@pytest.mark.parametrize("whole", [True, False])
async def test_cancelling_sends_nothing_new_and_settles_what_was_sent(pool, provider, planned, whole):
    provider.holds = {"a", "b", "c"}
    plan = planned(CHAIN)
    running = asyncio.create_task(
        conduct([a_question(), a_question()], pool=pool, conductor=plan, max_usd=100.0, return_state=True)
    )
    await until(lambda: len(provider.asked) == 2)
    outer, runs = await subflows()
    async with get_client() as client:
        await client.set_flow_run_state(outer.id if whole else runs[0].id, Cancelling(), force=True)
    await asyncio.sleep(3)  # longer than it takes to be seen: that nothing happens has no event
    assert len(provider.asked) == 2
    provider.release.set()
    state = await asyncio.wait_for(running, 20)
    async with get_client() as client:
        ended = [(await client.read_flow_run(run.id)).state.type for run in runs]
        last = (await client.read_flow_run(outer.id)).state.type
    if whole:
        assert state.is_cancelled() and last == StateType.CANCELLED and ended == [StateType.CANCELLED] * 2
        assert len(provider.asked) == 2
    else:
        assert state.is_completed() and sorted(ended) == [StateType.CANCELLED, StateType.COMPLETED]
        assert len(provider.asked) == 4
    for run in runs:
        await tasks_of(run, 4)
    ledger = open_ledger()
    with ledger.reading() as connection:
        assert set(connection.execute(select(calls.c.status)).scalars()) == {"settled"}
    ledger.close()
