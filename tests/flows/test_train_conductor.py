"""`train_conductor` on real workers: it trains, goes on after a kill, and stops at its gate."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from prefect import flow
from sqlalchemy import select

from flows import train_conductor as train_conductor_module
from flows.train_conductor import train_conductor
from models.conductor.learn import grpo
from models.conductor.learn.practice import Exercise, Outcome, Trial
from models.conductor.learn.trials import Stage
from models.conductor.plan.taught import Taught
from models.conductor.plan.workflow import Step, Workflow
from models.conductor.plan.writers import CheckpointWriter, PlanRequest
from models.errors import BadFile, BadInput, NotFound, NotReady, UpstreamUnavailable
from models.grading.question import Question
from models.house.conductor import TINY
from models.house.plans import written
from models.house.qwen import fresh
from models.ledger.tables import calls
from models.workers.ask import Reply
from models.workers.client import Client
from tasks import ask as ask_worker_module
from tasks import learn
from tasks.ask import ask_worker
from tasks.setup.asking import Asking
from tasks.setup.course import ConductorPreset, load_course
from tasks.setup.session import open_session
from tasks.setup.settings import PROJECT, open_ledger

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


BRIEF = SMALL["course"] | {"iterations": 2, "save_every": 1}


@pytest.fixture
def untrained(tmp_path) -> Path:
    """A checkpoint that has learned nothing, with the shipped conductor's tokenizer."""
    shipped = CheckpointWriter.load(PROJECT / "data" / "conductor")
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
    conductors(course=BRIEF)
    folder = Path(asyncio.run(train_conductor()))
    assert CheckpointWriter.load(folder).name == "final"
    assert {row.scope.partition(":")[0] for row in settled()} == {"measure"}
    page = (home / "reports" / "conductor.md").read_text()
    for told in ("| two_hop | 12 |", "greedy plans that parse", "collapse onto one worker", "format drift"):
        assert told in page
    before = paid.asked()
    assert Path(asyncio.run(train_conductor())) == folder
    assert paid.asked() == before
    assert len(before) == len(set(before))


@pytest.mark.programs
def test_a_killed_training_pays_nothing_twice_and_goes_on(conductors, home, paid, monkeypatch):
    conductors(course=BRIEF)
    whole, batches = learn.carried_out, 0

    async def until_killed(trials, stage, practice=None):
        nonlocal batches
        batches += 1  # held-out questions, the gate, then one an iteration
        if batches == 2 + 2:
            raise KeyboardInterrupt
        return await whole(trials, stage, practice)

    monkeypatch.setattr(learn, "carried_out", until_killed)
    with pytest.raises(BaseException):  # noqa: B017 - as a process ends
        asyncio.run(train_conductor())
    paid.mark()
    assert [path.name for path in home.glob("conductors/*/grpo/checkpoint-*")] == ["checkpoint-1"]
    monkeypatch.setattr(learn, "carried_out", whole)
    assert Path(asyncio.run(train_conductor())).is_dir()
    assert paid.twice() == set()


def test_a_conductor_that_is_not_ready_stops_at_the_gate_and_says_why(conductors, home, untrained):
    with pytest.raises(NotReady, match="parsed completions 0% is below 80%"):
        asyncio.run(train_conductor(start=str(untrained)))
    assert not list(home.glob("conductors/*/grpo"))


def test_an_outage_is_no_sample_and_ends_nothing(conductors, home, monkeypatch):
    conductors(course=BRIEF | {"iterations": 1})
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


def test_plans_that_nobody_can_write_are_refused_before_anybody_is_asked(conductors, home, tmp_path):
    pool = tmp_path / "strangers.yaml"
    pool.write_text(yaml.safe_dump({"name": "strangers", "workers": [{"name": "zoe", "model": "house/calc"}]}))
    conductors(cold_start={"plans_by": "house", "examples": 4})
    with pytest.raises(BadInput, match="the house has no worker 'zoe'"):
        asyncio.run(train_conductor(pool=str(pool)))
    for plans_by, error in (("worker:nobody", NotFound), ("somebody", BadInput)):
        conductors(cold_start={"plans_by": plans_by, "examples": 4})
        with pytest.raises(error, match=r"nobody|somebody"):
            asyncio.run(train_conductor())
    assert settled() == [] and not (home / "conductors").exists()


def test_a_stage_that_does_not_fit_the_memory_is_refused_also_where_it_is_the_cold_start_alone(monkeypatch):
    monkeypatch.setattr(grpo, "_memory", lambda: ("this card", 2**10))
    plan = SMALL | {"course": SMALL["course"] | {"iterations": 0}}
    student = learn.Student(fresh(TINY), None, Taught(prompt="compact"), 8, Path())
    train_conductor_module._check_memory(student, ConductorPreset.model_validate(plan))
    plan |= {"cold_start": {"plans_by": "house", "examples": 4}}
    with pytest.raises(BadInput, match="this card has"):
        train_conductor_module._check_memory(student, ConductorPreset.model_validate(plan))


class End(BaseException):
    """As a process ends."""


SAGE = written(Workflow(steps=(Step(model=5, subtask="Answer the question.", access=()),)))


def test_a_worker_writes_the_cold_starts_plans_and_a_killed_run_takes_what_came_of_them(conductors, home, monkeypatch):
    conductors(
        questions=SMALL["questions"] | {"two_hop_share": 0.0},
        cold_start={"plans_by": "worker:sage", "examples": 16, "batch": 2, "learning_rate": 1e-5},
    )
    complete, tune, learned, taken = Client.complete, train_conductor_module.tune_student, [], []

    async def planning(self, ask):
        if ask.scope == "plans":
            return Reply(worker=ask.worker, revision=ask.revision, text=SAGE)
        return await complete(self, ask)

    async def noted(count, student, examples, *rest):
        learned.append(examples)
        return await tune(count, student, examples, *rest)

    async def until_here(lesson, student, plan, name):
        taken.append({name: tensor.clone() for name, tensor in student.model.state_dict().items()})
        raise End

    monkeypatch.setattr(Client, "complete", planning)
    monkeypatch.setattr(train_conductor_module, "tune_student", noted)
    monkeypatch.setattr(train_conductor_module, "_practise", until_here)
    for _ in range(2):
        with pytest.raises(End):
            asyncio.run(train_conductor())
    # Of what it wrote, the plans that answered right; the second run neither asked nor tuned again.
    (examples,) = learned
    assert 0 < len(examples) < 16
    assert all(example.completion == SAGE and example.prompt.startswith("question: ") for example in examples)
    assert [row.scope for row in settled()].count("plans") == 16
    assert len(list(home.glob("conductors/*/cold"))) == 1
    assert all(torch.equal(tensor, taken[1][name]) for name, tensor in taken[0].items())
    shipped = CheckpointWriter.load(PROJECT / "data" / "conductor")._model.state_dict()
    assert not all(torch.equal(tensor, taken[0][name]) for name, tensor in shipped.items())


def test_a_refresh_of_the_labels_makes_another_training_only_where_plans_hang_on_it(
    conductors, home, monkeypatch, caplog
):
    async def begun(lesson, folder):
        return str(lesson.home)

    monkeypatch.setattr(train_conductor_module, "_learn", begun)

    def home_with(prompt, card):
        conductors(prompt=prompt)
        monkeypatch.setattr(train_conductor_module, "cards", lambda ledger, pool: dict.fromkeys(pool.names, card))
        caplog.clear()
        return asyncio.run(train_conductor())

    before, after = "sums 0.91, facts 0.52", "sums 0.93, facts 0.52"
    assert home_with("compact", before) == home_with("compact", after)
    assert "a new training starts" not in caplog.text
    assert home_with("carded", before) != home_with("carded", after)  # they also say who a skill stands for
    assert "is unfinished and differs in cards\n" in caplog.text
    assert home_with("full", before) != home_with("full", after)


def test_the_homes_own_presets_are_read_in_place_of_the_datas(conductors, home):
    assert load_course("house").course.iterations == 4
    own = SMALL | {"course": SMALL["course"] | {"iterations": 7}}
    home.mkdir(exist_ok=True)
    (home / "conductors.yaml").write_text(yaml.safe_dump({"mine": own}))
    assert load_course("mine").course.iterations == 7
    with pytest.raises(BadFile, match="no preset 'house'; there are mine"):
        load_course("house")
    (home / "conductors.yaml").write_text("")
    with pytest.raises(BadFile, match="has to map names to presets"):
        load_course("mine")


def test_it_is_told_where_the_conductor_is_trained(monkeypatch):
    told = []
    logger = SimpleNamespace(info=lambda text, *values: told.append(text % values))
    monkeypatch.setattr(train_conductor_module, "get_run_logger", lambda: logger)
    for device, count in (("cpu", 0), ("cuda:0", 1), ("cuda:0", 2)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        train_conductor_module._log_device(SimpleNamespace(model=SimpleNamespace(device=torch.device(device))))
    assert told[0] == "the conductor is trained on the CPU, since there is no GPU here"
    assert told[1] == "the conductor is trained on cuda:0"
    assert "there are 2 GPUs here, and CUDA_VISIBLE_DEVICES" in told[2]


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
        stage = Stage({SUM.id: SUM}, revisions, scope, Asking(session.access).ask)
        return await learn.carried_out([two_steps(pool.names)] * count, stage)


async def test_a_step_is_a_task_tried_again_and_cached_and_equal_ones_are_one(home, prefect_server, paid, monkeypatch):
    ran, failures, send = [], iter([UpstreamUnavailable("away")]), Client.complete

    async def sometimes(self, wanted):
        for failure in failures:
            raise failure
        return await send(self, wanted)

    async def noted(access, identity, label, payload):
        ran.append(label)
        return await ask_worker.fn(access, identity, label, payload)

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
