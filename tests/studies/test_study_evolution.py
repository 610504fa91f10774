"""What a study says was saved is of its first way to evolve, which found nothing known; of old results it says less."""

from __future__ import annotations

from dataclasses import replace

import study_evolution
from prefect.logging import disable_run_logger
from study_evolution import FIRST, WARM, arms, load_study, report

from models.fugu.forward.backbone import Backbone
from models.house import backbone as house_backbone
from models.house.questions import generate

QUESTIONS = generate(3, {"test": 20})
OLD = {
    "held out": {WARM: [0.0] * 20, FIRST: [0.5] * 20, "control": [0.0] * 20},
    "validation": {FIRST: 0.1, "control": 0.1},
    "rollouts": {FIRST: 2160, "control": 2160},
    "missed": [0.25, 0.01],
    "turns": 1000,
    "asks": 100,
}


def test_the_share_of_known_choices_is_reported_of_the_first_way_alone():
    text = report("house", [OLD | {"first": {"turns": 200, "asks": asks}} for asks in (70, 80)], QUESTIONS)
    assert "Two stages, the first of them, alone: 400 turns of rollouts took 150 asks (62.50% saved)." in text
    assert "All ways, of which each knows what those before it met: 2,000 turns" in text and "90.00% saved" in text


def test_results_that_were_kept_before_do_not_say_it():
    text = report("house", [OLD, OLD | {"first": {"turns": 200, "asks": 80}}], QUESTIONS)
    assert "alone" not in text and "90.00% saved" in text


async def test_a_seed_tells_what_the_first_climb_spent(monkeypatch, tmp_path):
    study = load_study("simulated")
    plan = study.evolution.model_copy(
        update={"population": 4, "generations": 2, "subspace_generations": 1, "questions": 20, "rank": 4}
    )
    counts = study.questions.model_copy(update={"train": 40, "validation": 10, "test": 10})
    study = study.model_copy(update={"evolution": plan, "questions": counts})
    assert next(iter(arms(plan))) == FIRST
    benches, kept = [], study_evolution._bench

    async def bench(*given):
        benches.append(await kept(*given))
        return benches[-1]

    class Shown:
        async def add(self, count):
            first.append(benches[0].training.spent.turns)

    first = []
    monkeypatch.setattr(study_evolution, "_bench", bench)
    folder = house_backbone.make(tmp_path, replace(house_backbone.TINY, lines=640))
    monkeypatch.setattr(study_evolution, "load_backbone", lambda *_: Backbone.load(folder, device="cpu"))
    with disable_run_logger():
        found = await study_evolution.run_seed.fn("simulated", 0, "", study.model_dump(), Shown())
    assert found["first"]["turns"] == first[1] < found["turns"]
    assert 0 < found["first"]["asks"] <= found["first"]["turns"]
