"""Whether `trinity` beats its one-ask variant on the house pool, after the warm start alone.

    python tests/studies/revising.py --seeds 3

draws questions for each seed, learns worker and role rows as flows/warm_start.py does (layout `head`), and asks the
held-out questions as `fugu` (the same vector, one ask), as `trinity` (the loop), and as a control in which no SOLVER is
sent an objection, though the router reads it. Prints the gains with hierarchical intervals over seeds and questions,
and what the verifiers saw. Workers answer in this process. `--home`: a folder that keeps the backbone.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from evolution import Bench
from figures import over_seeds, shown
from numpy.typing import NDArray
from pools import SCOPE, HousePool, labels

from models.fugu import transcript
from models.fugu.forward.backbone import Backbone
from models.fugu.learn.objective import Objective, Slot
from models.fugu.roles import OBJECTION, PROMPTS, Role, accepts
from models.fugu.rollout import options_of, ranking_transcript
from models.fugu.router import Router
from models.fugu.vector import Vector
from models.grading.grade import grade
from models.grading.question import Question
from models.house import backbone as house_backbone
from models.house.questions import generate
from models.workers.ask import Ask, Reply

Scores = NDArray[np.float64]

WORTH, VERDICT = ("wrong", "right"), ("rejected", "accepted")

_OBJECTION = re.compile(OBJECTION.replace("{k}", r"\d+"))


class Watched(HousePool):
    """The house's workers; counts verdicts on `questions`, by (right, accepted). `deaf`: SOLVERs hear no objection."""

    def __init__(self, questions: Sequence[Question], deaf: bool = False) -> None:
        super().__init__()
        self.verdicts = Counter[tuple[bool, bool]]()
        self._deaf = deaf
        self._questions = {str(question.messages[-1]["content"]): question for question in questions}

    async def send(self, asks: Sequence[Ask]) -> list[Reply]:
        """What they say."""
        replies = await super().send([self._heard(ask) for ask in asks])
        for ask, reply in zip(asks, replies, strict=True):
            if ask.messages[0]["content"] == PROMPTS[Role.VERIFIER]:
                question, proposed = self._questions[ask.messages[-4]["content"]], ask.messages[-2]["content"]
                self.verdicts[grade(question, proposed).score == 1.0, accepts(reply.text or "")] += 1
        return replies

    def _heard(self, ask: Ask) -> Ask:
        told = [bool(_OBJECTION.fullmatch(str(message["content"]))) for message in ask.messages]
        if not self._deaf or ask.messages[0]["content"] != PROMPTS[Role.SOLVER] or not any(told):
            return ask
        kept = [m for m, label, after in zip(ask.messages, told, [False, *told], strict=False) if not label | after]
        return ask.model_copy(update={"messages": tuple(kept)})


async def one_ask(router: Router, vector: Vector, questions: Sequence[Question]) -> Scores:
    """The rewards of the worker that the vector picks for each question."""
    read = [transcript.text(ranking_transcript(question.messages, router)) for question in questions]
    picked = router.logits(read, vector)[:, : len(router.workers)].argmax(axis=1)
    scores = await labels(HousePool(), questions)
    return np.asarray(scores[np.arange(len(questions)), picked])


async def looped(
    router: Router, vector: Vector, questions: Sequence[Question], deaf: bool
) -> tuple[Scores, float, Counter[tuple[bool, bool]]]:
    """The rewards of the loop, its mean turns, and what the verifiers said."""
    direct, slots = Watched(questions, deaf), [Slot(question, 0) for question in questions]
    objective = Objective(router, direct.pool, slots, direct.send, scope=SCOPE, options=options_of(router))
    scores = await objective.scores(vector, temperature=0.0)
    turns = float(np.mean([len(score.workers) for score in scores]))
    return np.array([score.reward for score in scores]), turns, direct.verdicts


def group_of(question: Question) -> str:
    """Its table."""
    return "two-hop" if "two-hop" in question.tags else "unseen" if question.split == "unseen" else "seen"


async def study(home: Path, seeds: int, train: int, test: int, unseen: int) -> None:
    """Every seed has train questions of its own; the held-out ones are those of seed 11 and the same for all."""
    backbone = Backbone.load(house_backbone.make(home), device="cpu")
    asked = [q for q in generate(11, {"train": 0, "test": test, "unseen": unseen}) if q.split in ("test", "unseen")]
    texts, rows = {str(q.messages[-1]["content"]) for q in asked}, []
    for seed in range(seeds):
        drawn = [q for q in generate(100 + seed, {"train": train}) if str(q.messages[-1]["content"]) not in texts]
        bench = await Bench.open(HousePool(), backbone, drawn, drawn[:1], drawn[:1], repeats=1, seed=seed)
        fugu = await one_ask(bench.router, bench.start, asked)
        trinity, turns, verdicts = await looped(bench.router, bench.start, asked, deaf=False)
        control, _, _ = await looped(bench.router, bench.start, asked, deaf=True)
        rows.append((fugu, trinity, control))
        said = {f"{WORTH[right]} {VERDICT[accepted]}": count for (right, accepted), count in verdicts.items()}
        print(f"seed {seed}, {len(drawn)} train questions: {turns:.2f} turns; answers: {said}", flush=True)
    kinds = np.array([group_of(question) for question in asked])
    tables = {name: kinds == name for name in ("seen", "unseen", "two-hop")}
    tables |= {"single-hop": kinds != "two-hop", "all": kinds != ""}
    for kind, chosen in tables.items():
        fugu, trinity, control = np.array(rows).transpose(1, 0, 2)[:, :, chosen]
        means = f"fugu {fugu.mean():.4f}, trinity {trinity.mean():.4f}, control {control.mean():.4f}"
        print(f"{kind}, n = {fugu.shape[1]}: {means}; trinity less fugu {shown(over_seeds(trinity - fugu))}, ", end="")
        each = ", ".join(f"{gain:+.4f}" for gain in (trinity - fugu).mean(axis=1))
        print(f"each seed {each}; trinity less control {shown(over_seeds(trinity - control))}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--home", type=Path)
    for name, default in (("seeds", 3), ("train", 600), ("test", 900), ("unseen", 300)):
        arguments.add_argument(f"--{name}", type=int, default=default)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as made:
        home = chosen.home or Path(made)
        asyncio.run(study(home, chosen.seeds, chosen.train, chosen.test, chosen.unseen))


if __name__ == "__main__":
    main()
