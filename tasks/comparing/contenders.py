"""Every policy of a comparison on recorded scores, fitted on one part and evaluated on another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.evaluation.baselines import Choices, Part, baselines, predict_tasks
from models.evaluation.metrics import Entry, Floats, entry
from models.evaluation.rivals import FORM, form_features, ridge, rivals
from models.fugu.learn.contrastive import contrastive
from models.fugu.learn.tasks import TaskHead, fit_tasks
from models.fugu.learn.warm_start import FEW, HeadOptions, fit_head
from tasks.comparing.recorded import Recorded

ROWS = "fugu (warm start)"
BY_TASK = "fugu (by task)"
BY_TASK_EVERYWHERE = "fugu (by task, no fallback)"

CONTRASTIVE = "contrastive"

OFFERED_SINGLE = "best single worker offered"
OFFERED_TABLE = "task table (predicted) among the offered"


def contenders(train: Recorded, test: Recorded, seed: int) -> tuple[list[Entry], list[Entry]]:
    """The entries of all baselines, rivals, controls and routers on `test`; and of those that can choose among any
    workers, where each question offers a random part of them (none below three workers)."""
    part, asked = train.part, test.part
    entries = baselines(part, asked, train.workers, seed)
    chosen = {name: rival(part, asked.features) for name, rival in rivals(seed).items()}
    chosen[FORM] = ridge(replace(part, features=form_features(train.texts)), form_features(test.texts), seed=seed)
    chosen[CONTRASTIVE] = contrastive(part.features, part.scores, asked.features, seed)
    entries += [entry(name, choice, asked.scores, asked.costs) for name, choice in chosen.items()]
    logits = _logits(train, test)
    offers = random_offers(len(asked.scores), len(train.workers), seed)
    return [*entries, *_entries(logits, asked)], [] if offers is None else _among(offers, logits, train, test)


def by_task(train: Recorded, test: Recorded) -> Choices:
    """The choices [Q] of a head of tasks on `test`, its fallback included."""
    return _fitted(train).head(torch.from_numpy(test.part.features)).numpy().argmax(axis=1)


def routers(train: Recorded, test: Recorded) -> list[Entry]:
    """The entries of the routers alone: what may be seated."""
    return _entries(_logits(train, test), test.part)


def random_offers(questions: int, workers: int, seed: int) -> NDArray[np.bool_] | None:
    """Which workers each question offers, [Q, W]: k of them, two at least and never all; None below three workers."""
    if workers < 3:
        return None
    draws = np.random.default_rng(seed)
    rank = draws.random((questions, workers)).argsort(axis=1).argsort(axis=1)
    offers: NDArray[np.bool_] = rank < draws.integers(2, workers, size=questions)[:, None]
    return offers


def _logits(train: Recorded, test: Recorded) -> dict[str, Floats]:
    """The logits [Q, W] of each router on `test`."""
    part, states = train.part, torch.from_numpy(test.part.features)
    options = HeadOptions() if len(part.scores) >= HeadOptions.folds else FEW
    rows = fit_head(part.features, part.scores, part.tasks, options).weights
    fitted = _fitted(train)
    return {
        ROWS: test.part.features @ rows.T,
        BY_TASK: fitted.head(states).numpy(),
        BY_TASK_EVERYWHERE: fitted.everywhere(states).numpy(),
    }


def _fitted(train: Recorded) -> TaskHead:
    return fit_tasks(train.part.features, train.part.scores, train.part.tasks, groups=train.groups)


def _entries(logits: dict[str, Floats], asked: Part) -> list[Entry]:
    return [entry(name, each.argmax(axis=1), asked.scores, asked.costs) for name, each in logits.items()]


def _among(offers: NDArray[np.bool_], logits: dict[str, Floats], train: Recorded, test: Recorded) -> list[Entry]:
    """The routers, the best single worker and the table, each with the best by its own figures of those offered."""
    part, predicted = train.part, predict_tasks(train.part, test.part.features)
    overall = part.scores.mean(axis=0)
    means = {task: part.scores[part.tasks == task].mean(axis=0) for task in np.unique(part.tasks)}
    scored = {
        OFFERED_SINGLE: np.broadcast_to(overall, offers.shape),
        OFFERED_TABLE: np.array([means[task] for task in predicted]),
        **logits,
    }
    return _entries({name: np.where(offers, each, -np.inf) for name, each in scored.items()}, test.part)
