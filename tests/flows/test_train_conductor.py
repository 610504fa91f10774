"""`train_conductor` on real workers: it trains, goes on after a kill, and stops at its gate."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest
import torch
import yaml
from prefect import flow
from sqlalchemy import select

from flows import train_conductor as train_conductor_module
from flows.train_conductor import train_conductor
from models.conductor.policy import CheckpointPolicy, PlanRequest
from models.conductor.practice import Exercise, Outcome, Trial
from models.conductor.trials import Stage
from models.conductor.workflow import Step, Workflow
from models.errors import NotReady, UpstreamUnavailable
from models.grading.question import Question
from models.house.conductor import TINY
from models.house.qwen import fresh
from models.ledger.tables import calls
from models.workers.client import Client
from tasks import ask as ask_worker_module
from tasks import learn
from tasks.ask import ask_worker
from tasks.session import open_session
from tasks.settings import PROJECT, open_ledger

SMALL = {
    "start": "house",
    "prompt": "compact",
    "questions": {"train": 16, "validation": 8, "test": 12, "unseen": 0, "seed": 9000, "two_hop_share": 1.0},
    "offers": {"whole": 1.0},
    "step_tasks": False,
    "course": {"iterations": 4, "questions": 2, "group": 4, "learning_rate": 1e-4, "max_tokens": 120, "save_every": 2},
}


@pytest.fixture
def conductors(home, prefect_server, small_data, monkeypatch):
    """Writes the presets."""
    monkeypatch.setattr(train_conductor_module, "GROUPS", 4)

    def write(**changes):
        (small_data / "conductors.yaml").write_text(yaml.safe_dump({"house": SMALL | changes}))

    write()
    return write


@pytest.fixture
def untrained(tmp_path) -> Path:
    """A checkpoint that has learned nothing, with the shipped conductor's tokenizer."""
    shipped = CheckpointPolicy.load(PROJECT / "data" / "conductor")
    torch.manual_seed(0)
    model = fresh(TINY)
    model.resize_token_embeddings(len(shipped._tokenizer))
    folder = tmp_path / "untrained"
    model.save_pretrained(folder)
    shipped._tokenizer.save_pretrained(folder)
    return folder


def settled() -> list:
    ledger = open_ledger()
    with ledger.reading() as connection:
        rows = connection.execute(select(calls.c.scope, calls.c.worker).where(calls.c.status == "settled")).all()
    ledger.close()
    return rows


def test_it_trains_on_asked_workers_and_a_second_run_asks_nobody(conductors, home, paid):
    folder = Path(asyncio.run(train_conductor()))
    assert CheckpointPolicy.load(folder).name == "final"
    assert {row.scope.partition(":")[0] for row in settled()} == {"measure"}
    page = (home / "reports" / "conductor.md").read_text()
    for told in ("| two_hop | 12 |", "greedy plans that parse", "collapse onto one worker", "format drift"):
        assert told in page
    before = paid.asked()
    assert Path(asyncio.run(train_conductor())) == folder
    assert paid.asked() == before
    assert len(before) == len(set(before))


def test_a_killed_training_pays_nothing_twice_and_goes_on(conductors, home, paid, monkeypatch):
    whole, batches = learn.carried_out, 0

    async def until_killed(trials, stage, **options):
        nonlocal batches
        batches += 1  # held-out questions, the gate, then one an iteration
        if batches == 2 + 4:
            raise KeyboardInterrupt
        return await whole(trials, stage, **options)

    monkeypatch.setattr(learn, "carried_out", until_killed)
    with pytest.raises(BaseException):  # noqa: B017 - as a process ends
        asyncio.run(train_conductor())
    paid.mark()
    assert [path.name for path in home.glob("conductors/*/grpo/checkpoint-*")] == ["checkpoint-2"]
    monkeypatch.setattr(learn, "carried_out", whole)
    assert Path(asyncio.run(train_conductor())).is_dir()
    assert paid.twice() == set()


def test_a_conductor_that_is_not_ready_stops_at_the_gate_and_says_why(conductors, home, untrained):
    with pytest.raises(NotReady, match="parsed completions 0% is below 80%"):
        asyncio.run(train_conductor(start=str(untrained)))
    assert not list(home.glob("conductors/*/grpo"))


def test_an_outage_is_no_sample_and_ends_nothing(conductors, home, monkeypatch):
    complete, lost = Client.complete, []

    async def without_atlas(self, ask):
        if ask.worker == "atlas":
            lost.append(ask)
            raise UpstreamUnavailable("atlas is away")
        return await complete(self, ask)

    monkeypatch.setattr(Client, "complete", without_atlas)
    monkeypatch.setattr(learn, "carry_out_batch", learn.carry_out_batch.with_options(retries=0))
    assert Path(asyncio.run(train_conductor())).is_dir()
    assert lost


SUM = Question(
    id="sum", task="sums", messages=({"role": "user", "content": "What is 17 + 25?"},), grader="number", reference=42
)


def two_steps(names):
    calc = names.index("calc")
    steps = (
        Step(model=calc, subtask="What is 17 + 25?", access=()),
        Step(model=calc, subtask="Say the number.", access=(0,)),
    )
    request = PlanRequest(messages=SUM.messages, cards=())
    return Trial(Exercise(SUM.id, request, tuple(names)), Workflow(steps=steps), (0, 1))


@flow
async def practise(count, scope):
    async with open_session("house", 0.0) as session:
        pool = session.pool
        revisions = {worker.name: worker.revision for worker in pool.workers}
        stage = Stage({SUM.id: SUM}, revisions, scope, session.dispatcher.ask)
        return await learn.carried_out([two_steps(pool.names)] * count, stage, step_tasks=True)


async def test_a_step_is_a_task_tried_again_and_cached_and_equal_ones_are_one(home, prefect_server, paid, monkeypatch):
    ran, failures, send = [], iter([UpstreamUnavailable("away")]), Client.complete

    async def sometimes(self, wanted):
        for failure in failures:
            raise failure
        return await send(self, wanted)

    async def noted(identity, label, payload):
        ran.append(label)
        return await ask_worker.fn(identity, label, payload)

    monkeypatch.setattr(Client, "complete", sometimes)
    monkeypatch.setattr(ask_worker_module, "ask_worker", ask_worker.with_options(retry_delay_seconds=0))
    monkeypatch.setattr(ask_worker_module.ask_worker, "fn", noted)
    scope = f"measure:{uuid.uuid4()}"  # Prefect's cache outlives a home
    first = await practise(3, scope)
    assert len(first) == 3 and first[0] is not None and first == first[:1] * 3
    assert ran == ["step 1: calc", "step 1: calc", "step 2: calc"]  # the first one was tried again
    assert len(settled()) == 2
    assert await practise(1, scope) == first[:1]
    assert len(ran) == 3  # both tasks were taken from the cache


def test_batches_are_carried_out_in_the_flows_loop_from_another_thread():
    async def run():
        bridge = learn.Bridge(stage=None)
        loop = asyncio.get_running_loop()

        async def here():
            assert asyncio.get_running_loop() is loop
            return [Outcome(1.0, "x")]

        assert await asyncio.to_thread(bridge.wait, here()) == [Outcome(1.0, "x")]
        bridge.close()
        with pytest.raises(Exception, match="has ended"):
            await asyncio.to_thread(bridge.wait, here())

    asyncio.run(run())
