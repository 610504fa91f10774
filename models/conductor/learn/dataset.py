"""What trl's trainer is given: rows to ask for plans, and the rewards of the plans that it got.

A second round's prompt shows the answer of a first one, so it is written when its row is read: a plan is sampled and
carried out. All completions of the group go on from that one answer, which makes their rewards comparable.

Rows are read one batch ahead, so the plan is by the model as it stands one step before it learns from the group. A
checkpoint keeps the answers that were read already: written again, they would be by the model after that step.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models.conductor.learn.practice import Execute, Exercise, Sample, Write, attempted, in_groups, mixed, rehearse
from models.conductor.plan.writers import PlanRequest

Prompt = Any
"""A text, or messages for the tokenizer's chat template."""


class TrainingRows:
    """The exercises of a course. `write` samples first rounds; `shown`: a request as the model reads it."""

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
        # datasets names a dataset by pickling what transforms it: a model must be no part of that.
        return str, ("rounds",)

    @property
    def recursive(self) -> bool:
        """Whether some of them are second rounds."""
        return any(exercise.second for exercise in self._exercises)

    def rows(self) -> Any:
        """trl's dataset: `prompt`, and what names the exercise."""
        from datasets import Dataset

        numbers = Dataset.from_dict({"number": list(range(len(self._exercises)))})
        return numbers.with_transform(self._read)

    def first(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        """trl's reward function: of first rounds; `None` for the others, and where a worker's outage came between."""
        self._samples = self._attempt(completions, columns)
        return [None if sample.exercise.second else sample.reward for sample in self._samples]

    def second(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        """Of second rounds. trl calls it after `first`, which carried both out."""
        return [sample.reward if sample.exercise.second else None for sample in self._samples]

    def keep(self, file: Path) -> None:
        """Write the answers that the batch read last shows to `file`; where it is there, it is whole."""
        numbers, answers = self._answered
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps({"numbers": numbers, "answers": list(answers.items())}), encoding="utf-8")
        os.replace(partial, file)

    def recall(self, file: Path) -> None:
        """Show the answers that `keep` wrote when their batch is read."""
        kept = json.loads(file.read_text(encoding="utf-8"))
        self._answered = kept["numbers"], dict(kept["answers"])

    def _read(self, batch: Mapping[str, Sequence[int]]) -> dict[str, list[Any]]:
        """The rows of a batch; a group's are equal.

        With gradients in several parts the trainer reads a batch once for each: its first rounds are carried out once.
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
        """What a first round of each second one came to; where it came to nothing, the row is a first round itself."""
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
    """What is told of each iteration beside trl's own figures."""
    groups = in_groups(samples)
    planned = [len(sample.asked) for sample in samples if sample.asked]
    told = {
        "parsed": float(np.mean([sample.workflow is not None for sample in samples])),
        "legal": float(np.mean([not sample.fault for sample in samples])),
        "mixed": float(np.mean([mixed(group) for group in groups])),
        "outages": float(np.mean([sample.reward is None for sample in samples])),
        "steps": float(np.mean(planned)) if planned else math.nan,
    }
    return {name: value for name, value in told.items() if not math.isnan(value)}
