"""How good a conductor is on house questions: whether its plans are legal, and what carrying them out scores.

    python tests/studies/conductor.py data/conductor

prints the figures of data/EXPERIMENTS.md, section 6: a JSON line a part. `--questions` and `--unseen` make it smaller.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from pupil import Pupil, accepts, best_workflow, second_rounds, single_scores

from models.conductor.learn.offers import exercise_for
from models.conductor.learn.practice import Exercise, Sample
from models.conductor.plan.workflow import lint
from models.errors import BadInput
from models.evaluation.metrics import paired
from models.grading.question import Question
from models.house.conductor import DEFAULT, load, questions
from models.house.rehearsal import WORKERS

ALL = tuple(range(len(WORKERS)))


def sit(pupil: Pupil, asked: Sequence[Question], offered: Sequence[Sequence[int]] = ()) -> list[Sample]:
    """The greedy plan for every question, carried out where it is clean. `offered`: the ordinals, if not all."""
    return [_clean(sample) for sample in pupil.greedy(_masked(asked, offered), asked)]


def _masked(asked: Sequence[Question], offered: Sequence[Sequence[int]]) -> list[Exercise]:
    names = [[WORKERS[ordinal] for ordinal in ordinals] for ordinals in offered] or [WORKERS] * len(asked)
    return [exercise_for(question, some, WORKERS, {}) for question, some in zip(asked, names, strict=True)]


def _clean(sample: Sample) -> Sample:
    """With a fault also where a step is read by nobody: rehearsed plans have no such step."""
    if sample.fault or sample.workflow is None:
        return sample
    findings = lint(sample.workflow, allowed=sample.exercise.allowed, accepting=sample.exercise.second)
    return replace(sample, fault="; ".join(each.complaint for each in findings), outcome=None) if findings else sample


def masks(count: int, seed: int) -> list[tuple[int, ...]]:
    """So many random choices of offered workers, of every size."""
    rng = Random(f"house examination/{seed}")
    return [tuple(sorted(rng.sample(ALL, rng.randint(1, len(ALL))))) for _ in range(count)]


@dataclass(frozen=True)
class Rivals:
    """The best single worker, and the best for each kind of question, as train questions show them."""

    single: int
    table: Mapping[str, int]

    @staticmethod
    def seen_on(train: Sequence[Question]) -> Rivals:
        scores = np.array([single_scores(question) for question in train])
        kinds = np.array([question.tags[0] for question in train])
        table = {str(kind): int(scores[kinds == kind].mean(axis=0).argmax()) for kind in np.unique(kinds)}
        return Rivals(int(scores.mean(axis=0).argmax()), table)


def figures(sat: Sequence[Sample], asked: Sequence[Question], rivals: Rivals, tried: int = 100) -> dict[str, Any]:
    """Of one part of the questions: means, and the conductor's lead with its paired 95 % interval.

    `tried`: on so many questions all plans of at most two steps are tried.
    """
    ours = np.array([each.score for each in sat])
    scores = np.array([single_scores(question) for question in asked])
    single = scores[:, rivals.single]
    table = np.array([row[rivals.table[question.tags[0]]] for row, question in zip(scores, asked, strict=True)])
    best = [best_workflow(question) for question in asked[:tried]]
    return {
        "n": len(sat),
        "legal": _legal(sat),
        "steps": float(np.mean([len(each.asked) for each in sat if not each.fault])),
        "score": float(ours.mean()),
        "best_single": float(single.mean()),
        "lead": [round(end, 4) for end in paired(ours - single)],
        "best_of_kind": float(table.mean()),
        f"first_{tried}": {"score": float(ours[:tried].mean()), "best_plan": float(np.mean(best))},
    }


def second_round(pupil: Pupil, first: Sequence[Sample], asked: Sequence[Question]) -> dict[str, float]:
    """Shown its own plans' answers: which it accepts, and what is scored before and after."""
    sat = [each for each in first if not each.fault]
    again = [_clean(sample) for sample in second_rounds(pupil, sat, asked)]
    accepted = np.array([accepts(sample) for sample in again])
    before, after = (np.array([each.score for each in samples]) for samples in (sat, again))
    return {
        "accepts_right": float(accepted[before == 1.0].mean()),
        "accepts_wrong": float(accepted[before < 1.0].mean()),
        "before": float(before.mean()),
        "after": float(after.mean()),
    }


def run(folder: Path, test: int, unseen: int) -> None:
    if load(folder).reads_cards:
        raise BadInput(
            f"{folder} reads cards, and who is who is fixed here: its report is in reports/conductor.md", "folder"
        )
    pupil, asked = Pupil.of(folder), questions(DEFAULT, test=test, unseen=unseen)
    rivals = Rivals.seen_on([question for question in asked if question.split == "train"])
    for split in ("test", "unseen"):
        drawn = [each for each in asked if each.split == split]
        parts = [[each for each in drawn if ("two-hop" in each.tags) is two] for two in (False, True)]
        whole = []
        for name, part in zip(("single-hop", "two-hop"), parts, strict=True):
            sat, masked = sit(pupil, part), sit(pupil, part, masks(len(part), DEFAULT.seed))
            sampled = [_clean(each) for each in pupil.sampled(_masked(part, ()), part, times=1)]
            told = figures(sat, part, rivals) | {"legal_under_masks": _legal(masked)}
            told |= {"sampled": {"legal": _legal(sampled), "score": float(np.mean([each.score for each in sampled]))}}
            print(json.dumps({"part": f"{split}, {name}"} | told), flush=True)
            whole += sat
        told = {"part": split, "n": len(whole), "legal": _legal(whole)}
        print(json.dumps(told | second_round(pupil, whole, [*parts[0], *parts[1]])), flush=True)


def _legal(samples: Sequence[Sample]) -> float:
    return sum(not each.fault for each in samples) / len(samples)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--questions", type=int, default=1000)
    arguments.add_argument("--unseen", type=int, default=300)
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    run(chosen.folder, chosen.questions, chosen.unseen)


if __name__ == "__main__":
    main()
