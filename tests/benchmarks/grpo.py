"""What does GRPO add to the shipped house conductor? Three experiments, each from the conductor as it was shipped.

`gap`: greedy accuracy on held-out questions, before and after, against the best workflow of at most two steps.
`pools`: shuffled ordinals with cards, on workers that were never offered together, against the best allowed single.
`recursion`: what a forced second round adds, before and after the recursion finetune.

    python tests/benchmarks/grpo.py [--part gap pools recursion] [--seeds 0 1 2] [--folder data/conductor]

Workers are asked in this process. Minutes a seed and part on two cores.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.conductor.checkpoint import load
from models.conductor.gate import readiness
from models.conductor.grpo import Course, train
from models.conductor.offers import Offers, exercise_for, exercises
from models.conductor.policy import CheckpointPolicy
from models.conductor.practice import Exercise, Sample, attempted, rehearse
from models.conductor.watch import modes
from models.evaluation.metrics import bootstrap, interval
from models.grading.question import Question
from models.house import conductor
from models.house.lessons import best_workflow, directly
from models.house.questions import generate
from models.house.rehearsal import WORKERS

HOUSE = Course(
    iterations=60, questions=8, group=8, learning_rate=3e-4, max_tokens=conductor.MAX_TOKENS, save_every=1000
)
TWO_HOP = 0.7
"""Share of the train questions; the rest keeps single-hop plans in mind."""

DRAWS = 4
"""Of the workers' chance, over which scores are means."""

HELD_OUT = {"two_hop": 600, "single": 300}


def held_out() -> list[Question]:
    """Questions that neither the shipped conductor nor this training has seen."""
    tests = [q for q in conductor.questions(conductor.DEFAULT, test=2200) if q.split == "test"]
    two = [q for q in tests if q.task == "two_hop"][: HELD_OUT["two_hop"]]
    return two + [q for q in tests if q.task != "two_hop"][: HELD_OUT["single"]]


def training_questions(seed: int, count: int, share: float, unseen: Sequence[Question]) -> list[Question]:
    taken = {q.id for q in unseen}  # an id is a digest of the text
    return [q for q in generate(9_000 + seed, {"train": count + count // 5}, share) if q.id not in taken][:count]


def everyone(questions: Sequence[Question]) -> list[Exercise]:
    return [exercise_for(q, WORKERS, WORKERS, {}) for q in questions]


def scores(samples: Sequence[Sample], questions: Mapping[str, Question]) -> np.ndarray:
    """Each plan's mean score over the draws."""
    found = np.zeros((DRAWS, len(samples)))
    for draw in range(DRAWS):
        again = [replace(sample.exercise, replicate=draw) for sample in samples]
        done = attempted([sample.text for sample in samples], again, directly(list(questions.values())))
        found[draw] = [sample.score for sample in done]
    return found.mean(axis=0)


@dataclass
class Pupil:
    """A conductor, and who writes with it."""

    model: Any
    tokenizer: Any
    prompt: str = "compact"

    @classmethod
    def of(cls, folder: Path) -> Pupil:
        return cls(*load(folder))

    def policy(self, temperature: float = 0.0) -> CheckpointPolicy:
        limits: dict[str, Any] = {"max_tokens": conductor.MAX_TOKENS, "temperature": temperature}
        return CheckpointPolicy(self.model, self.tokenizer, name="pupil", prompt=self.prompt, **limits)

    def greedy(self, given: Sequence[Exercise], questions: Sequence[Question]) -> list[Sample]:
        return rehearse(self.policy().write_many, given, directly(questions))

    def sampled(self, given: Sequence[Exercise], questions: Sequence[Question], times: int = 8) -> list[Sample]:
        return rehearse(self.policy(1.0).write_many, given, directly(questions), times=times)

    def train(self, given: Sequence[Exercise], questions: Sequence[Question], course: Course) -> list[dict[str, float]]:
        def told(iteration: int, figures: Mapping[str, float]) -> None:
            if iteration % 10 == 0:
                shown = {name: round(figures[name], 3) for name in ("reward", "parsed", "legal", "mixed", "steps")}
                print(f"  iteration {iteration}: {shown}", flush=True)

        with tempfile.TemporaryDirectory() as folder:
            self.model, history = train(
                self.model, self.tokenizer, given, directly(questions), course, Path(folder),
                prompt=self.prompt, report=told,
            )  # fmt: skip
        return history


def hierarchical(gains: np.ndarray, resamples: int = 4000) -> tuple[float, float]:
    """The 95 % interval of the mean of [seeds, questions], both resampled."""
    draws = np.random.default_rng(0)
    seeds, n = gains.shape
    means = np.empty(resamples)
    for i in range(resamples):
        picked = gains[draws.integers(seeds, size=seeds)].mean(axis=0)
        means[i] = picked[draws.integers(n, size=n)].mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def paired(gains: np.ndarray) -> str:
    found = interval(float(gains.mean()), bootstrap(gains[:, None])[:, 0])
    return f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def gap(folder: Path, seeds: Sequence[int]) -> dict[str, float]:
    """Greedy accuracy on held-out two-hop questions; single-hop ones beside it."""
    unseen = held_out()
    known = {q.id: q for q in unseen}
    two = np.array([q.task == "two_hop" for q in unseen])
    frozen = Pupil.of(folder)
    print("started", flush=True)
    started = scores(frozen.greedy(everyone(unseen), unseen), known)
    best = np.array([best_workflow(q, DRAWS) for q in unseen])
    print(f"held out: {two.sum()} two-hop, {(~two).sum()} single-hop; {DRAWS} draws each")
    for name, rows in (("two-hop", two), ("single-hop", ~two)):
        print(f"{name}: frozen {started[rows].mean():.4f}, best workflow {best[rows].mean():.4f}", flush=True)
    gains, minutes = [], []
    for seed in seeds:
        clock, cpu = time.monotonic(), time.process_time()
        course = replace(HOUSE, seed=seed)
        asked = training_questions(seed, course.exercises, TWO_HOP, unseen)
        pupil = Pupil.of(folder)
        watched = everyone([q for q in asked if q.task == "two_hop"][:32])
        before = pupil.sampled(watched, asked)
        print(f"seed {seed}: {readiness(before).line}", flush=True)
        offers = Offers(whole=0.6)
        given = exercises(asked, WORKERS, {}, offers, count=course.exercises, seed=seed)
        pupil.train(given, asked, course)
        minutes.append((time.monotonic() - clock) / 60)
        samples = pupil.greedy(everyone(unseen), unseen)
        after = pupil.sampled(watched, asked)
        gains.append(scores(samples, known) - started)
        closed = gains[-1][two].mean() / (best - started)[two].mean()
        print(
            f"seed {seed}: two-hop {(started + gains[-1])[two].mean():.4f}, gain {paired(gains[-1][two])}, gap closed "
            f"{closed:.1%}; single-hop gain {paired(gains[-1][~two])}; {minutes[-1]:.1f} minutes, "
            f"{(time.process_time() - cpu) / 60:.1f} of a core; greedy plans legal "
            f"{np.mean([not s.fault for s in samples]):.4f}; sampled: {readiness(before).reward:.3f} → "
            f"{readiness(after).reward:.3f}, {readiness(after).line}"
        )
        for mode in modes(before, after):
            print(f"  {'SEEN' if mode.seen else 'not seen'}: {mode.line}", flush=True)
    table = np.array(gains)[:, two]
    low, high = hierarchical(table)
    closed = float(table.mean() / (best - started)[two].mean())
    print(f"mean of {len(seeds)} seeds: gain {table.mean():+.4f} [{low:+.4f}, {high:+.4f}], gap closed {closed:.1%}")
    return {"gap_closed": closed, "gain_low": low, "minutes": max(minutes)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    import sys

    print(gap(Path(sys.argv[1]), [int(x) for x in sys.argv[2:]]))
