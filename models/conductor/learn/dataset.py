"""Data for trl's trainer: prompt rows, and reward functions for the sampled plans.

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

from models.conductor.learn.practice import Execute, Exercise, Sample, Write, attempted, in_groups, mixed, rehearse
from models.conductor.plan.writers import PlanRequest
from models.files import staged

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
        self._samples: list[Sample] = []
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

    def first(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        """trl's reward function of first rounds; `None` for second rounds and after a worker's outage."""
        self._samples = self._attempt(completions, columns)
        return [None if sample.exercise.second else sample.reward for sample in self._samples]

    def second(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        """The same of second rounds. trl calls it after `first`, which runs both."""
        return [sample.reward if sample.exercise.second else None for sample in self._samples]

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


def figures(samples: Sequence[Sample]) -> dict[str, float]:
    """Metrics of an iteration beside trl's own."""
    groups = in_groups(samples)
    planned = [len(sample.asked) for sample in samples if sample.asked]
    values = {
        "parsed": float(np.mean([sample.workflow is not None for sample in samples])),
        "legal": float(np.mean([not sample.fault for sample in samples])),
        "mixed": float(np.mean([mixed(group) for group in groups])),
        "outages": float(np.mean([sample.reward is None for sample in samples])),
        "steps": float(np.mean(planned)) if planned else math.nan,
    }
    return {name: value for name, value in values.items() if not math.isnan(value)}
