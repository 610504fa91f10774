"""How good a conductor is on house questions: whether its plans are legal, and what carrying them out scores.

`python -m models.house.examination data/conductor` prints the figures of data/EXPERIMENTS.md: a JSON line a part.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from models.conductor.plan.prompt import Card
from models.conductor.plan.workflow import Malformed, Workflow, lint, parse
from models.conductor.plan.writers import CheckpointWriter, PlanRequest
from models.errors import BadInput
from models.evaluation.metrics import bootstrap, interval
from models.grading.question import Question
from models.house.conductor import DEFAULT, load, questions
from models.house.plans import ACCEPT, one_step, two_steps
from models.house.rehearsal import WORKERS, chance, replies, score

ALL = tuple(range(len(WORKERS)))


@dataclass(frozen=True)
class Sitting:
    """A question, the plan that was written for it (`None`: not legal, and then why), and what it scored."""

    question: Question
    plan: Workflow | None
    fault: str
    score: float


def sit(policy: CheckpointWriter, asked: Sequence[Question], offered: Sequence[Sequence[int]] = ()) -> list[Sitting]:
    """The policy's plan for every question, judged and carried out. `offered`: the ordinals, if not all, of each."""
    offered = offered or [ALL] * len(asked)
    texts = policy.write_many(
        [
            PlanRequest(question.messages, tuple(Card(ordinal=ordinal, text="") for ordinal in ordinals), seed=number)
            for number, (question, ordinals) in enumerate(zip(asked, offered, strict=True))
        ]
    )
    return [_judged(*row) for row in zip(asked, texts, offered, strict=True)]


def _judged(question: Question, text: str, ordinals: Sequence[int], previous: str | None = None) -> Sitting:
    plan = parse(text)
    if isinstance(plan, Malformed):
        return Sitting(question, None, plan.reason, 0.0)
    faults = [finding.complaint for finding in lint(plan, allowed=[ordinal in ordinals for ordinal in ALL])]
    if faults:  # also a step that nobody reads: rehearsed plans have none
        return Sitting(question, None, "; ".join(faults), 0.0)
    seed = chance(question, second=previous is not None)
    return Sitting(question, plan, "", score(plan, question, seed, previous=previous))


def alone(question: Question) -> list[float]:
    """What each worker scores by itself."""
    seed = chance(question)
    return [score(one_step(question.tags[0], ordinal), question, seed) for ordinal in ALL]


def best_of_two_steps(question: Question) -> float:
    """The best of all plans of at most two steps, found by trying them."""
    kind, seed = question.tags[0], chance(question)
    plans = (two_steps(kind, *pair) for pair in product(ALL, ALL))
    return max(*alone(question), *(score(plan, question, seed) for plan in plans))


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
        scores = np.array([alone(question) for question in train])
        kinds = np.array([question.tags[0] for question in train])
        table = {str(kind): int(scores[kinds == kind].mean(axis=0).argmax()) for kind in np.unique(kinds)}
        return Rivals(int(scores.mean(axis=0).argmax()), table)


def figures(sittings: Sequence[Sitting], rivals: Rivals, tried: int = 100) -> dict[str, Any]:
    """Of one part of the questions: means, and the conductor's lead with its paired 95 % interval.

    `tried`: on so many questions all plans of at most two steps are tried.
    """
    ours = np.array([each.score for each in sittings])
    scores = np.array([alone(each.question) for each in sittings])
    single = scores[:, rivals.single]
    table = np.array([row[rivals.table[each.question.tags[0]]] for row, each in zip(scores, sittings, strict=True)])
    steps = [len(each.plan.steps) for each in sittings if each.plan is not None]
    lead = interval(float((ours - single).mean()), bootstrap((ours - single)[:, None])[:, 0])
    best = [best_of_two_steps(each.question) for each in sittings[:tried]]
    return {
        "n": len(sittings),
        "legal": _legal(sittings),
        "steps": float(np.mean(steps)),
        "score": float(ours.mean()),
        "best_single": float(single.mean()),
        "lead": [round(end, 4) for end in lead],
        "best_of_kind": float(table.mean()),
        f"first_{tried}": {"score": float(ours[:tried].mean()), "best_plan": float(np.mean(best))},
    }


def second_round(policy: CheckpointWriter, first: Sequence[Sitting]) -> dict[str, float]:
    """Shown its own plans' answers: which it accepts, and what is scored before and after."""
    sat = [each for each in first if each.plan is not None]
    cards = tuple(Card(ordinal=ordinal, text="") for ordinal in ALL)
    answers = [replies(s.plan, s.question, chance(s.question))[-1] for s in sat if s.plan is not None]
    asked = [PlanRequest(s.question.messages, cards, previous=text) for s, text in zip(sat, answers, strict=True)]
    texts = policy.write_many(asked)
    accepted = np.array([parse(text) == ACCEPT for text in texts])
    before = np.array([each.score for each in sat])
    rows = zip(sat, texts, answers, strict=True)
    after = np.array([_judged(s.question, text, ALL, previous).score for s, text, previous in rows])
    return {
        "accepts_right": float(accepted[before == 1.0].mean()),
        "accepts_wrong": float(accepted[before < 1.0].mean()),
        "before": float(before.mean()),
        "after": float(np.where(accepted, before, after).mean()),
    }


def main(folder: Path) -> None:
    policy, hot = load(folder), load(folder, temperature=1.0)
    if policy.reads_cards:
        raise BadInput(
            f"{folder} reads cards, and who is who is fixed here: its report is in reports/conductor.md", "folder"
        )
    asked = questions(DEFAULT, test=1000, unseen=300)
    rivals = Rivals.seen_on([question for question in asked if question.split == "train"])
    for split in ("test", "unseen"):
        whole = []
        for two in (False, True):
            part = [each for each in asked if each.split == split and ("two-hop" in each.tags) is two]
            sat, masked, sampled = sit(policy, part), sit(policy, part, masks(len(part), DEFAULT.seed)), sit(hot, part)
            told = figures(sat, rivals) | {"legal_under_masks": _legal(masked)}
            told |= {"sampled": {"legal": _legal(sampled), "score": float(np.mean([each.score for each in sampled]))}}
            print(json.dumps({"part": f"{split}, {'two-hop' if two else 'single-hop'}"} | told))
            whole += sat
        print(json.dumps({"part": split, "n": len(whole), "legal": _legal(whole)} | second_round(policy, whole)))


def _legal(sittings: Sequence[Sitting]) -> float:
    return sum(each.plan is not None for each in sittings) / len(sittings)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
