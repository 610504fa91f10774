"""What does GRPO add to the house conductor? Three experiments, each from the conductor as it is shipped.

`gap`: greedy accuracy on held-out questions against the best workflow of at most two steps, found by trying all.
`pools`: cards and shuffled ordinals, on workers that its training never offered together (the conductor that it starts
from was offered all of them, by number and without cards), against the best allowed single.
`recursion`: what a second round adds to the first, before and after the recursion finetune.

    python tests/benchmarks/grpo.py [--part gap] [--part pools] [--part recursion] [--seeds 3]

The workers are asked in this process. A seed and part takes minutes on two cores.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import beside  # noqa: F401 (tests/studies can be imported)
import numpy as np
import torch
from figures import over_seeds, shown
from pupil import (
    DRAWS,
    Pupil,
    accepts,
    best_workflow,
    everyone,
    held_out,
    never_together,
    scores,
    second_rounds,
    single_scores,
    training_questions,
)
from reporting import report

from models.conductor.learn.checks import modes, readiness
from models.conductor.learn.grpo import Course
from models.conductor.learn.offers import Offers, exercise_for, exercises
from models.conductor.learn.practice import Sample
from models.conductor.learn.sft import Tuning, tune
from models.conductor.plan.prompt import cards
from models.evaluation.metrics import paired
from models.grading.question import Question
from models.house.lessons import lessons
from models.house.rehearsal import WORKERS
from tasks.setup.course import ConductorPreset, load_course
from tasks.setup.settings import PROJECT

START = PROJECT / "data" / "conductor"
BOUNDS = {
    "gap_closed": [">=", 0.3],
    "gain_low": [">", 0.0],
    "minutes": ["<=", 20.0],
    "pools_low": [">", 0.0],
}


PRESET, POOLS = load_course("house"), load_course("house-pools")


def course(preset: ConductorPreset, seed: int) -> Course:
    """The preset's GRPO."""
    return replace(preset.course.course(seed, lora=0), save_every=1000)


class Clock:
    """Minutes that have passed, and minutes of a core that this process took."""

    def __init__(self) -> None:
        self._wall, self._cores = time.monotonic(), time.process_time()

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self._wall) / 60

    def __str__(self) -> str:
        return f"{self.minutes:.1f} minutes, {(time.process_time() - self._cores) / 60:.1f} of a core"


def tell(before: Sequence[Sample], after: Sequence[Sample]) -> None:
    """Sampled plans before and after: the gate's figures and the failure modes."""
    for name, samples in (("before", before), ("after", after)):
        print(f"  sampled {name}: reward {readiness(samples).reward:.3f}; {readiness(samples).line}")
    for mode in modes(before, after):
        print(f"  {'SEEN' if mode.seen else 'not seen'}: {mode.line}")


def two_hop(questions: Sequence[Question]) -> np.ndarray:
    return np.array([question.task == "two_hop" for question in questions])


def summed_up(name: str, gains: Sequence[np.ndarray]) -> tuple[float, float]:
    """The mean gain over seeds and questions, and the lower end of its interval."""
    found = over_seeds(np.array(gains))
    print(f"{name}, mean of {len(gains)} seeds: {shown(found)}", flush=True)
    return found.value, found.low


# The gap


def gap(seeds: Sequence[int]) -> dict[str, float]:
    unseen = held_out(600, 300)
    two, given = two_hop(unseen), everyone(unseen)
    frozen = scores(Pupil.of(START).greedy(given, unseen), unseen)
    best = np.array([best_workflow(question, DRAWS) for question in unseen])
    groups = {"all": two | ~two, "two-hop": two, "single-hop": ~two}
    for name, rows in groups.items():
        print(f"{name} (n = {rows.sum()}): frozen {frozen[rows].mean():.4f}, best {best[rows].mean():.4f}", flush=True)
    gains, minutes = [], []
    for seed in seeds:
        clock, plan = Clock(), course(PRESET, seed)
        asked = training_questions(seed, plan.exercises, PRESET.questions.two_hop_share, unseen)
        watched = everyone([question for question in asked if question.task == "two_hop"][:32])
        pupil = Pupil.of(START)
        before = pupil.sampled(watched, asked)
        pupil.train(exercises(asked, WORKERS, {}, PRESET.offers.offers(), count=plan.exercises, seed=seed), asked, plan)
        minutes.append(clock.minutes)
        print(f"gap, seed {seed}: {clock}")
        samples = pupil.greedy(given, unseen)
        gains.append(scores(samples, unseen) - frozen)
        for name, rows in groups.items():
            closed = gains[-1][rows].mean() / (best - frozen)[rows].mean()
            gain = shown(paired(gains[-1][rows]))
            print(f"  {name}: {(frozen + gains[-1])[rows].mean():.4f}, {gain}, {closed:.1%} closed")
        print(f"  greedy plans that can be run: {np.mean([not sample.fault for sample in samples]):.4f}")
        tell(before, pupil.sampled(watched, asked))
    two_hop_gain, _ = summed_up("two-hop gain", [gain[two] for gain in gains])
    mean, low = summed_up("gain on all questions", gains)
    return {
        "gap_closed": mean / float((best - frozen).mean()),
        "two_hop_gap_closed": two_hop_gain / float((best - frozen)[two].mean()),
        "gain_low": low,
        "minutes": max(minutes),
    }


# Random pools

APART = (frozenset({"atlas", "coder"}), frozenset({"calc", "lingua"}))
"""Never offered together in training; a held-out subset holds one of these pairs."""


def measured(questions: Sequence[Question]) -> dict[str, dict[str, float]]:
    """worker -> task -> mean score: what labels would hold."""
    found: dict[str, dict[str, list[float]]] = {worker: defaultdict(list) for worker in WORKERS}
    for question in questions:
        for worker, score in zip(WORKERS, single_scores(question, 1), strict=True):
            found[worker][question.task].append(score)
    return {worker: {task: float(np.mean(s)) for task, s in tasks.items()} for worker, tasks in found.items()}


def pools(seeds: Sequence[int]) -> dict[str, float]:
    unseen = held_out(150, 600)
    two, subsets = two_hop(unseen), never_together(WORKERS, APART, 3)
    alone = np.array([single_scores(question, DRAWS) for question in unseen])
    gains: list[np.ndarray] = []
    by_rewards: list[np.ndarray] = []
    for seed in seeds:
        clock, plan, cold_start = Clock(), course(POOLS, seed), POOLS.cold_start
        asked = training_questions(seed, POOLS.questions.train, POOLS.questions.two_hop_share, unseen)
        labels = measured(asked[:1200])
        known, overall = cards(labels), {worker: float(np.mean(list(labels[worker].values()))) for worker in WORKERS}
        shuffle = Random(seed)
        given = [
            exercise_for(question, subsets[i % len(subsets)], WORKERS, known, shuffle=shuffle)
            for i, question in enumerate(unseen)
        ]
        rival = np.array(
            [alone[i][WORKERS.index(max(each.offered, key=lambda name: overall[name]))] for i, each in enumerate(given)]
        )
        offers = replace(POOLS.offers.offers(), apart=APART)
        pupil = Pupil.of(START, POOLS.prompt)
        drawn = exercises(asked, WORKERS, known, offers, count=cold_start.examples, seed=seed)
        examples = list(lessons(drawn, {question.id: question for question in asked}, pupil.prompt, seed))
        tuning = Tuning(cold_start.epochs, cold_start.batch, 512, cold_start.learning_rate, seed)
        tune(pupil.model, pupil.tokenizer, examples, tuning)
        print(f"pools, seed {seed}: cold start on {len(examples)} examples, {clock}")
        cold = scores(pupil.greedy(given, unseen), unseen)
        before = pupil.sampled(given[::24], unseen)
        drawn = exercises(asked, WORKERS, known, offers, count=plan.exercises, seed=seed + 100)
        pupil.train(drawn, asked, plan)
        samples = pupil.greedy(given, unseen)
        trained = scores(samples, unseen)
        print(f"pools, seed {seed}: {clock}")
        for name, rows in (("all", two | ~two), ("single-hop", ~two), ("two-hop", two)):
            told = f"cold start {cold[rows].mean():.4f}, trained {trained[rows].mean():.4f}"
            gain = shown(paired((trained - rival)[rows]))
            print(f"  {name}: best allowed single {rival[rows].mean():.4f}, {told}, {gain}")
        print(f"  greedy plans that can be run: {np.mean([not sample.fault for sample in samples]):.4f}")
        tell(before, pupil.sampled(given[::24], unseen))
        gains.append(trained - rival)
        by_rewards.append(trained - cold)
    summed_up("GRPO over its cold start", by_rewards)
    _, low = summed_up("over best allowed single", gains)
    return {"pools_low": low}


# Recursion


def recursion(seeds: Sequence[int]) -> dict[str, float]:
    unseen = held_out(400, 200)
    given = everyone(unseen)
    gains: dict[str, list[np.ndarray]] = defaultdict(list)
    for seed in seeds:
        clock, plan = Clock(), replace(course(PRESET, seed), iterations=40)
        asked = training_questions(seed, plan.exercises, 0.7, unseen)
        rounds = exercises(asked, WORKERS, {}, Offers(whole=0.9), count=plan.exercises, seed=seed)
        pupil = Pupil.of(START)
        for when in ("before", "after"):
            if when == "after":
                pupil.train([replace(each, second=i % 2 == 1) for i, each in enumerate(rounds)], asked, plan)
            once = pupil.greedy(given, unseen)
            twice = second_rounds(pupil, once, unseen)
            first, second = (np.array([sample.score for sample in samples]) for samples in (once, twice))
            accepted = np.array([accepts(sample) for sample in twice])
            gains[when].append(second - first)
            told = f"first round {first.mean():.4f}, second {second.mean():.4f}, {shown(paired(second - first))}"
            right = f"{accepted[first == 1].mean():.1%} of right and {accepted[first < 1].mean():.1%} of wrong answers"
            print(f"recursion, seed {seed}, {when}: {told}; accepts {right}; {clock}", flush=True)
    _, before = summed_up("second round over first, before the finetune", gains["before"])
    _, after = summed_up("second round over first, after it", gains["after"])
    return {"recursion_before_low": before, "recursion_after_low": after}


PARTS: dict[str, Callable[[Sequence[int]], dict[str, float]]] = {"gap": gap, "pools": pools, "recursion": recursion}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # at this size a second thread gains nothing
    figures: dict[str, float] = {}
    for part in chosen.part or PARTS:
        figures |= PARTS[part](range(chosen.seeds))
    report("grpo", figures, {name: bound for name, bound in BOUNDS.items() if name in figures})


if __name__ == "__main__":
    main()
