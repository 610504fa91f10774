"""A house conductor that is trained and examined in this process: what the parts of `grpo.py` share."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.conductor.learn.grpo import Course, train
from models.conductor.learn.offers import exercise_for
from models.conductor.learn.practice import Exercise, Sample, attempted, rehearse
from models.conductor.plan.checkpoint import load
from models.conductor.plan.writers import CheckpointWriter
from models.evaluation.metrics import bootstrap, interval
from models.grading.question import Question
from models.house import conductor
from models.house.lessons import directly
from models.house.questions import generate
from models.house.rehearsal import WORKERS

DRAWS = 4
"""Of the workers' chance, over which scores are means."""


def held_out(two_hop: int, single: int) -> list[Question]:
    """Questions that neither the shipped conductor nor a training here has seen."""
    tests = [q for q in conductor.questions(conductor.DEFAULT, test=2200) if q.split == "test"]
    return [q for q in tests if q.task == "two_hop"][:two_hop] + [q for q in tests if q.task != "two_hop"][:single]


def training_questions(seed: int, count: int, two_hop: float, unseen: Sequence[Question]) -> list[Question]:
    """`two_hop`: their share."""
    taken = {q.id for q in unseen}  # an id is a digest of the text
    drawn = generate(9_000 + seed, {"train": count + count // 5}, two_hop)
    return [q for q in drawn if q.id not in taken][:count]


def everyone(questions: Sequence[Question]) -> list[Exercise]:
    """All workers are offered, under their own ordinals."""
    return [exercise_for(q, WORKERS, WORKERS, {}) for q in questions]


def scores(samples: Sequence[Sample], questions: Sequence[Question]) -> np.ndarray:
    """Each plan's mean score over the draws."""
    found = np.zeros((DRAWS, len(samples)))
    for draw in range(DRAWS):
        again = [replace(sample.exercise, replicate=draw) for sample in samples]
        done = attempted([sample.text for sample in samples], again, directly(questions))
        found[draw] = [sample.score for sample in done]
    return found.mean(axis=0)


@dataclass
class Pupil:
    """A conductor in memory. `prompt`: how it is asked."""

    model: Any
    tokenizer: Any
    prompt: str = "compact"

    @classmethod
    def of(cls, folder: Path, prompt: str = "compact") -> Pupil:
        return cls(*load(folder), prompt)

    def greedy(self, given: Sequence[Exercise], questions: Sequence[Question]) -> list[Sample]:
        return rehearse(self._policy(0.0).write_many, given, directly(questions))

    def sampled(self, given: Sequence[Exercise], questions: Sequence[Question], times: int = 8) -> list[Sample]:
        return rehearse(self._policy(1.0).write_many, given, directly(questions), times=times)

    def train(self, given: Sequence[Exercise], questions: Sequence[Question], course: Course) -> list[dict[str, float]]:
        """GRPO, told every tenth iteration."""

        def told(iteration: int, figures: Mapping[str, float]) -> None:
            if iteration % 10 == 0:
                shown = {name: round(figures[name], 3) for name in ("reward", "parsed", "mixed", "steps")}
                print(f"  iteration {iteration}: {shown}", flush=True)

        with tempfile.TemporaryDirectory() as folder:
            self.model, history = train(
                self.model,
                self.tokenizer,
                given,
                directly(questions),
                course,
                Path(folder),
                prompt=self.prompt,
                report=told,
            )
        return history

    def _policy(self, temperature: float) -> CheckpointWriter:
        limits: dict[str, Any] = {"max_tokens": conductor.MAX_TOKENS, "temperature": temperature}
        return CheckpointWriter(self.model, self.tokenizer, name="pupil", prompt=self.prompt, **limits)


def paired(gains: np.ndarray) -> str:
    """The mean of [questions] with its interval over questions."""
    found = interval(float(gains.mean()), bootstrap(gains[:, None])[:, 0])
    return f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


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
