"""Ways to evolve are compared on one bench: same start, same rollouts, a control, and nobody is asked twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evolution import Ascent, Bench
from pools import SCOPE, HousePool, SimulatedPool, labels
from study_evolution import WARM, arms, load_study, report

from models.fugu.forward.backbone import Backbone
from models.grading.grade import grade
from models.house import backbone as house_backbone
from models.house.questions import generate
from models.workers.ask import Ask, Sampling

ASCENT = Ascent(
    population=6, generations=3, subspace_generations=2, rank=4, flip_rate=0.1, role_flip_rate=0.2, temperature=0.0
)
QUESTIONS = generate(3, {"train": 60, "validation": 20, "test": 20})


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    recipe = replace(house_backbone.TINY, lines=640)
    return Backbone.load(house_backbone.make(tmp_path_factory.mktemp("home"), recipe), device="cpu")


@pytest.fixture(params=["house", "simulated"])
def direct(request):
    return HousePool() if request.param == "house" else SimulatedPool(1)


async def opened(direct, backbone):
    asked = []

    class Counted:
        pool, options = direct.pool, direct.options

        async def send(self, asks):
            asked.extend(ask.identity for ask in asks)
            return await direct.send(asks)

    parts = (direct.pose([q for q in QUESTIONS if q.split == split]) for split in ("train", "validation", "test"))
    return await Bench.open(Counted(), backbone, *parts, repeats=2, seed=5), asked


async def test_climbs_of_one_bench_can_be_repeated_and_ask_nobody_twice(direct, backbone):
    bench, asked = await opened(direct, backbone)
    first = await bench.climb(ASCENT, 5)
    assert first.rollouts == 3 * 6 * 60 * 2
    assert first.gain >= 0 and len(first.missed) == 3
    before = list(asked)
    again = await bench.climb(ASCENT, 5)
    assert asked == before
    assert np.array_equal(again.vector, first.vector) and again.gain == first.gain
    assert len(await bench.held_out(first.vector)) == 20


async def test_the_control_is_told_the_same_fitnesses_in_another_order(direct, backbone):
    bench, _ = await opened(direct, backbone)
    control = await bench.climb(replace(ASCENT, shuffled=True), 5)
    assert control.rollouts == (await bench.climb(ASCENT, 5)).rollouts


def test_all_arms_have_the_same_rollouts():
    for pool in ("house", "simulated"):
        study = load_study(pool)
        ways = arms(study.evolution)
        generations = {name: way.generations / (1 if way.rungs == 1 else 2) for name, way in ways.items()}
        assert set(generations.values()) == {study.evolution.generations}
        assert ways["control"].shuffled and not any(way.shuffled for name, way in ways.items() if name != "control")


async def test_simulated_luck_is_the_asks_alone_and_comes_out_at_the_workers_chance():
    direct = SimulatedPool(3)
    question = direct.pose(QUESTIONS[:1])[0]
    asks = [
        Ask(scope=SCOPE, worker="worker 7", revision="1", messages=question.messages, sampling=Sampling(seed=seed))
        for seed in range(3000)
    ]
    scores = [grade(question, reply.text).score for reply in await direct.send(asks)]
    chance = direct.chances([question.messages[-1]["content"]])[0, 6]
    assert np.mean(scores) == pytest.approx(chance, abs=0.03)
    assert [grade(question, reply.text).score for reply in await direct.send(asks[:50])] == scores[:50]


async def test_simulated_workers_have_skills_that_differ_by_question():
    direct = SimulatedPool(3)
    scores = await labels(direct, direct.pose(QUESTIONS))
    assert scores.shape == (len(QUESTIONS), 20)
    chances = direct.chances([question.messages[-1]["content"] for question in QUESTIONS])
    assert chances.max(axis=1).mean() - chances.mean(axis=0).max() > 0.1


def test_the_report_says_the_gain_of_every_arm_over_the_warm_start():
    questions = [q for q in QUESTIONS if q.split == "test"]
    names = ("two stages", "control")
    run = {
        "held out": {WARM: [0.0] * 20, "two stages": [0.5] * 20, "control": [0.0] * 20},
        "validation": dict.fromkeys(names, 0.1),
        "rollouts": dict.fromkeys(names, 2160),
        "missed": [0.25, 0.01],
        "turns": 1000,
        "asks": 100,
    }
    text = report("house", [run, run, run], questions)
    assert "| two stages | 2,160 | +0.1000 | +0.5000 [+0.5000, +0.5000] |" in text
    assert "Two stages less the control: +0.5000 [+0.5000, +0.5000]." in text
    assert "90.00% saved" in text
