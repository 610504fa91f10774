"""Data for trl's trainer: prompt rows, and the reward function for the sampled plans.

A second round's prompt shows the answer of a first round, so it is rendered when its row is read: a first plan is
sampled and run. All completions of the group continue from that one answer, which makes their rewards comparable.

Rows are read one batch ahead, so that plan is by the model one step before it learns from the group. A checkpoint
stores the answers that were read already: sampled again, they would be by the model after that step.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models.conductor.learn.practice import (
    DISCOUNT,
    Execute,
    Exercise,
    Sample,
    Write,
    attempted,
    in_groups,
    mixed,
    rehearse,
    rewards_of,
)
from models.conductor.plan.writers import PlanRequest
from models.files import staged

EPSILON = 1e-4
"""Added to a group's standard deviation, as in trl."""

Prompt = Any
"""A text, or messages for the tokenizer's chat template."""


class TrainingRows:
    """The exercises of a course. `write` samples first rounds; `shown` renders a request as the model reads it."""

    def __init__(
        self,
        exercises: Sequence[Exercise],
        execute: Execute,
        write: Write,
        shown: Callable[[PlanRequest], Prompt],
        seed: int,
    ) -> None:
        self._exercises, self._execute, self._write, self._shown = exercises, execute, write, shown
        self._seed = seed
        self._answered: tuple[list[int], dict[int, str]] = [], {}

    def __reduce__(self) -> tuple[Any, ...]:
        # `datasets` identifies a dataset by pickling its transform, which must not include a model.
        return str, ("rounds",)

    @property
    def recursive(self) -> bool:
        """Whether some exercises are second rounds."""
        return any(exercise.second for exercise in self._exercises)

    def rows(self) -> Any:
        """trl's dataset: `prompt`, and the columns that identify the exercise."""
        from datasets import Dataset

        numbers = Dataset.from_dict({"number": list(range(len(self._exercises)))})
        return numbers.with_transform(self._read)

    def rewarded(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        """trl's reward function: what each completion is worth, `None` after a worker's outage.

        In the recursion finetune it is the completion's advantage within its group, and first rounds' are discounted.
        """
        samples = self._attempt(completions, columns)
        if not self.recursive:
            return [sample.reward for sample in samples]
        return [worth for group in in_groups(samples) for worth in discounted(group)]

    def keep(self, file: Path) -> None:
        """Write the answers shown by the batch read last to `file`, atomically."""
        numbers, answers = self._answered
        with staged(file) as text:
            json.dump({"numbers": numbers, "answers": list(answers.items())}, text)

    def recall(self, file: Path) -> None:
        """Read the answers that `keep` wrote, to be shown when their batch is read again."""
        kept = json.loads(file.read_text(encoding="utf-8"))
        self._answered = kept["numbers"], dict(kept["answers"])

    def _read(self, batch: Mapping[str, Sequence[int]]) -> dict[str, list[Any]]:
        """The rows of a batch; those of a group are equal.

        With gradient accumulation the trainer reads a batch several times; its first rounds are run once.
        """
        numbers = sorted(set(batch["number"]))
        if self._answered[0] != numbers:
            self._answered = numbers, self._first_answers(numbers)
        answers = self._answered[1]
        read: dict[str, list[Any]] = {"number": [], "previous": [], "prompt": []}
        for number in batch["number"]:
            request = replace(self._exercises[number].request, previous=answers.get(number))
            read["number"].append(number)
            read["previous"].append(request.previous)
            read["prompt"].append(self._shown(request))
        return read

    def _first_answers(self, numbers: Sequence[int]) -> dict[int, str]:
        """The first-round answer of each second round; where there is none, the row becomes a first round itself."""
        wanted = [number for number in numbers if self._exercises[number].second]
        if not wanted:
            return {}
        begun = [replace(self._exercises[number], second=False) for number in wanted]
        samples = rehearse(self._write, begun, self._execute, seed=self._seed + wanted[0])
        return {n: sample.outcome.answer for n, sample in zip(wanted, samples, strict=True) if sample.outcome}

    def _attempt(self, completions: Sequence[Any], columns: Mapping[str, Any]) -> list[Sample]:
        exercises = {
            number: self._at(number, previous)
            for number, previous in zip(columns["number"], columns["previous"], strict=True)
        }
        texts = [completion if isinstance(completion, str) else completion[-1]["content"] for completion in completions]
        samples = attempted(texts, [exercises[number] for number in columns["number"]], self._execute)
        for name, value in figures(samples).items():
            columns["log_metric"](name, value)
        return samples

    def _at(self, number: int, previous: str | None) -> Exercise:
        exercise = self._exercises[number]
        request = replace(exercise.request, previous=previous)
        return replace(exercise, request=request, second=previous is not None)


def discounted(group: Sequence[Sample]) -> list[float | None]:
    """The advantages of a group's samples, times γ for a first round; `None` after an outage.

    The rewards are normalised within the group, all of one round, before they are weighted: a discount on the reward
    itself would be normalised away, and normalised over the batch (as trl does after weighting) it would be lost
    wherever the other round's groups are flat.
    """
    seen = np.array(rewards_of(group))
    spread = float(seen.std(ddof=1)) if len(seen) > 1 else 0.0
    weight = 1.0 if group[0].exercise.second else DISCOUNT
    return [
        None if sample.reward is None else weight * float(sample.reward - seen.mean()) / (spread + EPSILON)
        for sample in group
    ]


def figures(samples: Sequence[Sample]) -> dict[str, float]:
    """Metrics of an iteration beside trl's own. `earned`: mean reward as it was, of all samples and of each round."""
    groups = in_groups(samples)
    planned = [len(sample.asked) for sample in samples if sample.asked]
    values = {
        "earned": _mean(rewards_of(samples)),
        "earned/first": _mean(rewards_of([sample for sample in samples if not sample.exercise.second])),
        "earned/second": _mean(rewards_of([sample for sample in samples if sample.exercise.second])),
        "parsed": float(np.mean([sample.workflow is not None for sample in samples])),
        "legal": float(np.mean([not sample.fault for sample in samples])),
        "mixed": float(np.mean([mixed(group) for group in groups])),
        "outages": float(np.mean([sample.reward is None for sample in samples])),
        "steps": _mean(planned),
    }
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
