"""Conducted requests in Prefect: the run reads as the plan, joins the executor, and pays for nothing twice."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter, FlowRunFilterName
from request_rows import recent_requests

from deployments.endpoint.show_request import show
from flows.conduct import conduct
from models.conductor.plan.writers import FixedWriter
from models.conductor.run.request import ConductParts, ConductRequest
from models.conductor.run.request_run import RequestRuns
from models.conductor.run.toolcalls import continue_with
from models.errors import LimitReached, NotFound, UpstreamUnavailable, WorkflowFailed
from models.ledger.requests import record_request
from models.workers.ask import Reply, Sampling
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool, Price, Worker
from models.workers.retry import RetryPolicy
from tasks.setup.conductor import open_parts
from tasks.setup.session import open_session
from tasks.setup.settings import PROJECT, open_ledger
from tasks.show import run_step

PLAN = """
model_id = [0, 3, 0]
subtasks = ["What is 17 * 24 + 5?", "Count the letters of Prefect", "Answer the user's question"]
access_list = [[], [], ["all"]]
"""
QUESTION = "What is 17 * 24 + 5?"


@pytest.fixture(autouse=True)
def shows_texts(home: Path, monkeypatch) -> None:
    """As in a home for trying: what is looked at here is what a person sees there."""
    monkeypatch.setenv("FUGU_SHOW_TEXTS", "true")


@pytest.fixture
def fixed(home: Path) -> str:
    (home / "plan.txt").write_text(PLAN)
    return f"fixed:{home / 'plan.txt'}"


async def runs_of(title: str, *tasks: int) -> list:
    """The flow runs of that name, oldest first, each with so many task runs (the last number: of all that follow).

    The server records task runs in batches, so that a run may have ended before all of its tasks are known.
    """
    async with get_client() as client:
        wanted = FlowRunFilter(name=FlowRunFilterName(any_=[title]))
        runs = sorted(await client.read_flow_runs(flow_run_filter=wanted), key=lambda run: run.created)
        found = []
        for number, run in enumerate(runs):
            mine, deadline, count = [], time.monotonic() + 20, tasks[min(number, len(tasks) - 1)]
            while len(mine) < count or not all(task.state and task.state.is_final() for task in mine):
                assert time.monotonic() < deadline, [task.name for task in mine]
                await asyncio.sleep(0.1)  # the server records them when it comes to it, and says nothing
                mine = await client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [run.id]}))
            found.append((run, mine))
        return found


async def conducted(fixed: str, request: ConductRequest) -> str | None:
    """One request as the endpoint does it: answered, and shown beside."""
    async with open_session("house", 0.0) as session:
        dispatcher = Dispatcher(session.ledger, session.pool, budget=session.access.budget, retry=RetryPolicy(tries=1))
        request_runs = RequestRuns(await open_parts(session.ledger, session.pool, dispatcher, fixed))
        request_run = request_runs.open(request)
        shown = asyncio.create_task(show(request_run))
        try:
            return (await request_run.answer()).text
        finally:
            await shown
            await request_runs.close()
            await dispatcher.close()


@pytest.mark.usefixtures("prefect_server")
async def test_a_batch_is_answered_kept_and_not_paid_again(home, paid, fixed):
    answers = await conduct([QUESTION, QUESTION], conductor=fixed)
    assert len(answers) == 2 and "413" in answers[0]
    asked = len(paid.asked())
    assert asked == 6
    assert await conduct([QUESTION, QUESTION], conductor=fixed) == answers
    assert len(paid.asked()) == asked
    assert await conduct([QUESTION], conductor=fixed, name="again") and len(paid.asked()) == asked + 3


@pytest.mark.usefixtures("prefect_server")
async def test_a_questions_own_limits_reach_it_and_one_that_may_take_more_is_another_question(home, paid, fixed):
    limits = {"max_usd_each": 1.5, "max_calls_each": 2, "max_seconds_each": 60.0}
    await conduct([QUESTION], conductor=fixed, **limits)
    assert len(paid.asked()) == 1  # the plan has three steps, so the best worker answers in its place
    ledger = open_ledger()
    [row] = recent_requests(ledger)
    ledger.close()
    assert row["request"]["limits"] == {"max_usd": 1.5, "max_calls": 2, "max_seconds": 60.0, "depth": 1}
    assert "413" in (await conduct([QUESTION], conductor=fixed, max_calls_each=3))[0] and len(paid.asked()) == 4


@pytest.mark.usefixtures("prefect_server")
async def test_over_the_runs_own_limit_of_money_the_best_finished_answer_counts(home, paid, fixed):
    pool = yaml.safe_load((PROJECT / "data/pools/house.yaml").read_text())
    # A call's worst case is a little over a dollar, and it costs a few cents.
    costly = {"price": {"input_per_million": 1e3, "output_per_million": 1e3}, "limits": {"max_output_tokens": 1000}}
    for worker in pool["workers"]:
        worker |= costly
    (home / "dear.yaml").write_text(yaml.safe_dump(pool))
    chain = {"model_id": [0, 0, 0], "subtasks": [QUESTION, QUESTION, QUESTION], "access_list": [[], [0], [1]]}
    (home / "plan.txt").write_text("\n".join(f"{name} = {value}" for name, value in chain.items()))
    dear = {"pool": str(home / "dear.yaml"), "conductor": fixed}
    answers = await conduct([QUESTION], max_usd=1.28, **dear)
    assert "413" in answers[0] and 1 <= len(paid.asked()) <= 2
    ledger = open_ledger()
    [row] = recent_requests(ledger)
    ledger.close()
    assert row["body"]["finish_reason"] == "length" and row["trace"]["ended"] == "max_usd"
    with pytest.raises(LimitReached, match="max_usd"):
        await conduct(["What is 2 + 2?"], max_usd=0.01, **dear)


def request(name: str, question: str, **changes) -> ConductRequest:
    """A request with an id of its own: Prefect's cache outlives a run of these tests."""
    id = f"{name}-{uuid4().hex}"
    given = {"messages": ({"role": "user", "content": question},), "allowed": ("calc", "coder", "sage")}
    return ConductRequest.model_validate({"id": id, **given, **changes})


@pytest.mark.usefixtures("prefect_server")
async def test_the_run_reads_as_the_plan_and_its_page_shows_graph_table_and_answer(home, paid, fixed):
    question = "What is 17 * 24 + 5? Say it twice."
    text = await conducted(fixed, request("shown", question))
    [(run, tasks)] = await runs_of(question, 4)
    by_name = {task.name: task for task in tasks}
    assert run.state.is_completed()
    assert set(by_name) == {
        "plan of round 0",
        "step 1: calc - What is 17 * 24 + 5?",
        "step 2: coder - Count the letters of Prefect",
        "step 3: calc - Answer the user's question",
    }
    last = by_name["step 3: calc - Answer the user's question"]
    upstream = {str(each.id) for each in last.task_inputs["wait_for"]}
    assert upstream == {str(task.id) for task in tasks if task is not last}
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["workflow-graph"]))
        )
    [page] = [artifact.data for artifact in found if artifact.flow_run_id == run.id]
    assert "graph TD" not in page and "data:image/svg+xml" in page and "> Answer: 413" in page and "413" in (text or "")
    assert "| 2 | coder | Count the letters of Prefect | – | done |" in page


@pytest.mark.usefixtures("prefect_server")
async def test_a_second_run_of_the_same_request_is_read_from_the_cache_and_pays_nothing(home, paid, fixed):
    question = "What is 17 * 24 + 5? Say it once more."
    again = request("cached", question)
    assert await conducted(fixed, again) == await conducted(fixed, again)
    assert len(paid.asked()) == 3
    (_, first), (_, second) = await runs_of(question, 4)
    assert {task.state.name for task in first if task.name.startswith("step")} == {"Completed"}
    assert {task.state.name for task in second if task.name.startswith("step")} == {"Cached"}


@pytest.mark.usefixtures("prefect_server")
async def test_a_workflow_that_fails_or_is_cut_off_says_so_in_its_run(home, paid, fixed, monkeypatch):
    monkeypatch.setattr("models.house.handler.complete", _refuse)
    question = "What is 17 * 24 + 5? Nobody can."
    with pytest.raises(WorkflowFailed):
        await conducted(fixed, request("failed", question))
    [(run, tasks)] = await runs_of(question, 3)
    assert run.state.is_failed()
    assert "step 1" in run.state.message or "step 2" in run.state.message  # they run, and fail, side by side
    assert not any(task.name.startswith("step 3") for task in tasks)


def _refuse(*_):
    raise NotFound("nobody")


class Caller:
    """A sender whose first reply calls the client's tool; `faults` are raised before."""

    def __init__(self, *faults: Exception) -> None:
        self.faults, self.sent = list(faults), 0

    async def complete(self, ask) -> Reply:
        self.sent += 1
        if self.faults:
            raise self.faults.pop(0)
        call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        wants = ask.sampling.tools and ask.messages[-1]["role"] != "tool"
        return Reply(
            worker=ask.worker, revision="1", text=None if wants else "seen", tool_calls=(call,) if wants else ()
        )


@asynccontextmanager
async def executing(sender: Caller, names: tuple[str, ...] = ("w",)):
    """An executor over these workers, which that sender stands for."""
    ledger = open_ledger()
    pool = Pool(name="p", workers=tuple(Worker(name=name, model="openai/w", price=Price()) for name in names))
    retry = RetryPolicy(tries=4, base_s=0.01, cap_s=0.01, budget=None)  # tries are counted here
    dispatcher = Dispatcher(ledger, pool, sender, retry=retry)
    plan = 'model_id = [0, 0]\nsubtasks = ["look around", "tell"]\naccess_list = [[], [0]]'

    async def rank(messages, allowed):
        return allowed

    request_runs = RequestRuns(ConductParts(ledger, pool, dispatcher, FixedWriter(plan), rank, retry=retry))
    yield request_runs
    await request_runs.close()
    await dispatcher.close()
    ledger.close()


async def shown_beside(request_runs: RequestRuns, request: ConductRequest):
    record_request(request_runs.ledger, {"id": request.id, "request": request.model_dump(mode="json")})
    request_run = request_runs.open(request)
    shown = asyncio.create_task(show(request_run))
    answer = await request_run.answer()
    await shown
    return answer


@pytest.mark.usefixtures("prefect_server")
async def test_a_run_that_waits_for_tools_is_completed_and_tagged_and_the_next_one_names_it(home):
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    question = "What do you see?"
    looking = request("looking", question, allowed=("w",), sampling=Sampling(tools=(tool,)))
    async with executing(Caller()) as request_runs:
        answer = await shown_beside(request_runs, looking)
        for number in range(2):  # each of the two steps looks once
            results = {answer.tool_calls[0]["id"]: "a tree"}
            going_on = await asyncio.to_thread(continue_with, request_runs.ledger, f"{looking.id}-{number}", results)
            answer = await shown_beside(request_runs, going_on)
    assert answer.text == "seen"
    found = await runs_of(question, 2, 3)
    assert [run.state.is_completed() for run, _ in found] == [True] * 3
    assert [set(run.tags) for run, _ in found] == [
        {"fugu-ultra", looking.id, "awaiting-tools"},
        {"fugu-ultra", f"{looking.id}-0", "awaiting-tools", f"continues:{looking.id}"},
        {"fugu-ultra", f"{looking.id}-1", f"continues:{looking.id}-0"},
    ]
    names = [sorted(task.name for task in tasks if task.name.startswith("step")) for _, tasks in found]
    assert names == [["step 1: w - look around"], *[["step 1: w - look around", "step 2: w - tell"]] * 2]


@pytest.mark.usefixtures("prefect_server")
async def test_a_transient_failure_is_a_retry_in_the_run_and_one_more_try_in_the_ledger(home, monkeypatch):
    monkeypatch.setattr(run_step, "retry_delay_seconds", [0.01, 0.01, 0.01])
    question = "Is it away?"
    sender = Caller(*[UpstreamUnavailable("away")] * 2)
    async with executing(sender) as request_runs:
        answer = await shown_beside(request_runs, request("away", question, allowed=("w",)))
    assert (answer.text, sender.sent) == ("seen", 4)
    [(run, tasks)] = await runs_of(question, 3)
    assert run.state.is_completed()
    assert {task.state.name for task in tasks} == {"Completed"}


@pytest.mark.usefixtures("prefect_server")
async def test_a_step_that_several_workers_fail_for_a_while_is_completed_in_the_run_too(home, monkeypatch):
    """More transient failures than one worker has tries: the step's task joins until the step itself has ended."""
    monkeypatch.setattr(run_step, "retry_delay_seconds", [0.01])
    question = "Are they all away?"
    sender = Caller(*[UpstreamUnavailable("away")] * 10)
    async with executing(sender, ("v", "w", "x")) as request_runs:
        answer = await shown_beside(request_runs, request("all-away", question, allowed=("v", "w", "x")))
    assert (answer.text, sender.sent) == ("seen", 12)
    [(run, tasks)] = await runs_of(question, 3)
    assert run.state.is_completed()
    assert {task.state.name for task in tasks} == {"Completed"}
