"""How much of what full retraining gains does a new worker bring with a fifth of its labels?

Each worker in turn is held out: a head is learned without it, then the worker joins by `models.fugu.learn.onboard`; the
rival is the head that is learned with all labels of all workers. Out of fold, over three seeds of folds; the gains are
summed over the workers. Questions are chosen by task (as the flow does), at random, by I-optimal design or by kernel
herding on the others' labels.

    python tests/studies/onboarding.py FILE BACKBONE HOME [--best N] [--seeds S]
    python tests/studies/onboarding.py --house HOME        # a home in which `fugu up` has measured the house pool
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

FOLDS, SHARE = 3, 0.2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("where", nargs="*")
    parser.add_argument("--house", type=Path)
    parser.add_argument("--best", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    os.environ["FUGU_HOME"] = str(given.house or given.where[2])
    data = house() if given.house else recorded(*given.where[:2])
    study(*data, given.best, given.seeds)


def recorded(file: str, backbone: str) -> tuple[Any, ...]:
    from tasks.comparing.recorded import read_recorded
    from tasks.setup.settings import settings

    found = read_recorded(Path(file), None, backbone, settings().home / "states")
    return found.part.features, found.part.scores, found.part.tasks, found.groups, found.workers


def house() -> tuple[Any, ...]:
    """The house questions of a home and their labels; the states are the house backbone's."""
    from models.evaluation.matrix import label_matrix
    from models.ledger.labels import labels
    from tasks.setup.preset import load_preset
    from tasks.setup.questions import load_set
    from tasks.setup.router import backbone_path, first_texts, load_backbone
    from tasks.setup.settings import load_pool, open_ledger

    plan, ledger, pool = load_preset("first-light"), open_ledger(), load_pool("house")
    asked = list(load_set("house", plan.questions, ledger).questions)
    scores = label_matrix(labels(ledger, pool="house"), [question.id for question in asked], pool.names)
    backbone = load_backbone(backbone_path("house", plan.backbone))
    from flows.warm_start import blank_router

    router = blank_router(backbone.source, pool, "head")
    states = router.backbone.features(first_texts(asked, router))
    return states, scores, np.array([question.task for question in asked]), np.arange(len(asked)), pool.names


Choose = Callable[[Any, NDArray[np.str_], int, int], NDArray[np.intp]]
"""The others' labels, tasks, how many, seed -> indices."""


def by_task(known: Any, tasks: NDArray[np.str_], count: int, seed: int) -> NDArray[np.intp]:
    from models.fugu.learn.onboard import chosen

    return chosen(list(tasks), count, seed)


def at_random(known: Any, tasks: NDArray[np.str_], count: int, seed: int) -> NDArray[np.intp]:
    return np.random.default_rng(seed).permutation(len(tasks))[:count]


def _read(known: Any, tasks: NDArray[np.str_]) -> Any:
    names, task = np.unique(tasks, return_inverse=True)
    return np.concatenate([known - known.mean(axis=0), np.eye(len(names))[task]], axis=1)


def i_optimal(known: Any, tasks: NDArray[np.str_], count: int, seed: int, noise: float = 0.1) -> NDArray[np.intp]:
    """Greedily the question that lowers the mean variance of all predictions most."""
    read = _read(known, tasks)
    inverse, mean = np.eye(read.shape[1]), read.T @ read / len(read)
    free, found = np.ones(len(read), bool), []
    for _ in range(count):
        turned = read @ inverse
        worth = ((turned @ mean) * turned).sum(axis=1) / (noise + (turned * read).sum(axis=1))
        best = int(np.where(free, worth, -1).argmax())
        free[best] = False
        found.append(best)
        own = inverse @ read[best]
        inverse -= np.outer(own, own) / (noise + read[best] @ own)
    return np.array(found)


def herding(known: Any, tasks: NDArray[np.str_], count: int, seed: int) -> NDArray[np.intp]:
    """Greedily the question that makes the chosen ones most like all."""
    read = _read(known, tasks)
    read = read / np.linalg.norm(read, axis=1, keepdims=True).clip(1e-9)
    wanted, had = read @ read.mean(axis=0), np.zeros(len(read))
    free, found = np.ones(len(read), bool), []
    for number in range(count):
        best = int(np.where(free, wanted - had / (number + 1), -np.inf).argmax())
        free[best] = False
        found.append(best)
        had += read @ read[best]
    return np.array(found)


RULES: dict[str, Choose] = {"by task": by_task, "random": at_random, "I-optimal": i_optimal, "herding": herding}


def study(
    states: Any, scores: Any, tasks: NDArray[np.str_], groups: Any, workers: tuple[str, ...], best: int, seeds: int
) -> None:
    from models.evaluation.metrics import paired

    held = np.argsort(-scores.mean(axis=0))[:best]
    gains: dict[str, list[Any]] = {rule: [] for rule in RULES}
    whole: list[Any] = []
    began = time.time()
    for seed in range(seeds):
        fold = (np.random.default_rng(seed).permutation(groups.max() + 1) % FOLDS)[groups]
        full = np.zeros((len(held), len(scores)))
        joined = {rule: np.zeros((len(held), len(scores))) for rule in RULES}
        for held_fold in range(FOLDS):
            run(states, scores, tasks, groups, held, fold != held_fold, seed, full, joined)
            print(f"seed {seed}, fold {held_fold + 1} of {FOLDS}: {time.time() - began:.0f} s", flush=True)
        whole.append(full)
        for rule in RULES:
            gains[rule].append(joined[rule])
    total = np.mean(whole, axis=0)
    print("retraining:", {workers[w]: f"{paired(total[at]).value:+.4f}" for at, w in enumerate(held)})
    for rule in RULES:
        found = np.mean(gains[rule], axis=0)
        ratio = found.sum() / total.sum()
        drawn = np.random.default_rng(0).integers(len(scores), size=(2000, len(scores)))
        spread = found.sum(axis=0)[drawn].sum(axis=1) / total.sum(axis=0)[drawn].sum(axis=1)
        low, high = np.percentile(spread, [2.5, 97.5])
        each = {workers[w]: f"{paired(found[at]).value:+.4f}" for at, w in enumerate(held)}
        print(f"{rule}: {ratio:.3f} [{low:.3f}, {high:.3f}] of it; {each}", flush=True)


def run(
    states: Any,
    scores: Any,
    tasks: NDArray[np.str_],
    groups: Any,
    held: NDArray[np.intp],
    train: NDArray[np.bool_],
    seed: int,
    full: Any,
    joined: dict[str, Any],
) -> None:
    """Gains on the questions that are not train, over the head without each held-out worker."""
    from models.fugu.learn.onboard import column, predicted
    from models.fugu.learn.tasks import fit_tasks

    rows, at = np.flatnonzero(train), np.flatnonzero(~train)
    asked = torch.from_numpy(states[at])
    every = fit_tasks(states[rows], scores[rows], tasks[rows], groups=groups[rows]).head(asked).numpy().argmax(axis=1)
    for place, worker in enumerate(held):
        others = np.delete(np.arange(scores.shape[1]), worker)
        known = scores[rows][:, others]
        head = fit_tasks(states[rows], known, tasks[rows], groups=groups[rows]).head
        first = scores[at, others[head(asked).numpy().argmax(axis=1)]]
        full[place, at] = scores[at, every] - first
        for rule, choose in RULES.items():
            own = np.full(len(rows), np.nan)
            some = choose(known, tasks[rows], round(SHARE * len(rows)), 100 * seed + place)
            own[some] = scores[rows[some], worker]
            more = column(head, states[rows], predicted(known, list(tasks[rows]), own))
            then = more(asked).numpy().argmax(axis=1)
            joined[rule][place, at] = scores[at, np.append(others, worker)[then]] - first


if __name__ == "__main__":
    main()
