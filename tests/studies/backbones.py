"""Worker rows fitted on a house backbone's unadapted states, beside kNN and a task table, by lines and train questions.

    python tests/studies/backbones.py --lines 16000 --train 1600 --train 4000
    python tests/studies/backbones.py --lines 4000 --batch 32 --train 1200

prints a row of data/EXPERIMENTS.md, sections 1 and 3, for each number of train questions: the held-out single-hop
questions in seen and unseen phrasings. Workers answer in this process, with one label a cell.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from figures import shown
from pools import HousePool, labels

from models.evaluation.baselines import BEST_SINGLE, KNN, ORACLE, TASK_PREDICTED, Part, baselines
from models.evaluation.metrics import difference, entry, gap_closed
from models.fugu import transcript
from models.fugu.forward.backbone import Backbone
from models.fugu.learn.warm_start import fit_head
from models.fugu.rollout import first_transcript
from models.grading.question import Question
from models.house import backbone as house_backbone
from models.house.questions import generate


def part(direct: HousePool, backbone: Backbone, questions: Sequence[Question]) -> Part:
    """The questions' scores and states."""
    scores = asyncio.run(labels(direct, questions))
    first = [first_transcript(each.messages, len(direct.pool.workers), direct.options) for each in questions]
    states = backbone.features([transcript.text(messages) for messages in first])
    return Part(scores, states, np.array([each.task for each in questions]), np.zeros_like(scores))


def row(train: Part, test: Part, workers: Sequence[str]) -> str:
    """Mean scores of the fitted rows and its rivals."""
    head = fit_head(train.features, train.scores, list(train.tasks)).weights
    fugu = entry("fugu", (test.features @ head.T).argmax(axis=1), test.scores)
    rivals = {each.name: each for each in baselines(train, test, workers)}
    means = {name: float(rivals[name].scores.mean()) for name in (KNN, TASK_PREDICTED, BEST_SINGLE, ORACLE)}
    closed = float(gap_closed(float(fugu.scores.mean()), means[BEST_SINGLE], means[ORACLE]))
    told = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
    lead = shown(difference(fugu, rivals[KNN]))
    return (
        f"fugu {fugu.scores.mean():.4f} ({closed:.2f} of the gap), {told}, fugu less kNN {lead}, n = {len(test.tasks)}"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--train", type=int, action="append", help="train questions (1200); may be repeated")
    for name, default in (("lines", 4000), ("batch", 16), ("test", 1500), ("unseen", 500), ("seed", 7)):
        arguments.add_argument(f"--{name}", type=int, default=default)
    arguments.add_argument("--learning-rate", type=float, default=2e-3)
    chosen = arguments.parse_args()
    sizes = chosen.train or [1200]
    questions = generate(chosen.seed, {"train": max(sizes), "test": chosen.test, "unseen": chosen.unseen})
    split = {name: [q for q in questions if q.split == name] for name in ("train", "test", "unseen")}
    recipe = house_backbone.Recipe(lines=chosen.lines, batch=chosen.batch, learning_rate=chosen.learning_rate)
    direct = HousePool()
    with tempfile.TemporaryDirectory() as home:
        backbone = Backbone.load(house_backbone.make(Path(home), recipe), device="cpu")
        train = part(direct, backbone, split["train"])
        for name in ("test", "unseen"):
            held_out = part(direct, backbone, [q for q in split[name] if "two-hop" not in q.tags])
            for size in sizes:
                few = train.rows(np.arange(size))
                print(f"{name}, {size} train questions: {row(few, held_out, direct.pool.names)}", flush=True)


if __name__ == "__main__":
    main()
