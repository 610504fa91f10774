"""Every policy of a comparison on recorded scores, fitted on one part and evaluated on another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.evaluation.baselines import Choices, Part, baselines, predict_tasks
from models.evaluation.metrics import Entry, Floats, entry
from models.evaluation.rivals import FORM, form_features, ridge, rivals
from models.evaluation.spending import at_settings
from models.fugu.learn.contrastive import contrastive
from models.fugu.learn.tasks import TaskHead, fit_tasks
from models.fugu.learn.warm_start import FEW, HeadOptions, fit_head
from models.fugu.thrift import fit_knob
from tasks.comparing.recorded import Recorded

ROWS = "fugu (warm start)"
BY_TASK = "fugu (by task)"
BY_TASK_EVERYWHERE = "fugu (by task, no fallback)"

CONTRASTIVE = "contrastive"

OFFERED_SINGLE = "best single worker offered"
OFFERED_TABLE = "task table (predicted) among the offered"


def contenders(train: Recorded, test: Recorded, seed: int) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """The entries of all baselines, rivals, controls and routers on `test`; of those that can choose among any workers,
    where each question offers a random part of them (none below three workers); and of the routers at each setting of
    their knobs (none where nothing costs anything)."""
    part, asked = train.part, test.part
    entries = baselines(part, asked, train.workers, seed)
    chosen = {name: rival(part, asked.features) for name, rival in rivals(seed).items()}
    chosen[FORM] = ridge(replace(part, features=form_features(train.texts)), form_features(test.texts), seed=seed)
    chosen[CONTRASTIVE] = contrastive(part.features, part.scores, asked.features, seed)
    entries += [entry(name, choice, asked.scores, asked.costs) for name, choice in chosen.items()]
    learned = _learned(train)
    logits = {name: read(asked.features) for name, read in learned.items()}
    offers = random_offers(len(asked.scores), len(train.workers), seed)
    among = [] if offers is None else _among(offers, logits, train, test)
    return [*entries, *_entries(logits, asked)], among, _settings(learned, part, asked)


def by_task(train: Recorded, test: Recorded) -> Choices:
    """The choices [Q] of a head of tasks on `test`, its fallback included."""
    return _fitted(train).head(torch.from_numpy(test.part.features)).numpy().argmax(axis=1)


def routers(train: Recorded, test: Recorded) -> list[Entry]:
    """The entries of the routers alone: what may be seated."""
    return _entries({name: read(test.part.features) for name, read in _learned(train).items()}, test.part)


def random_offers(questions: int, workers: int, seed: int) -> NDArray[np.bool_] | None:
    """Which workers each question offers, [Q, W]: k of them, two at least and never all; None below three workers."""
    if workers < 3:
        return None
    draws = np.random.default_rng(seed)
    rank = draws.random((questions, workers)).argsort(axis=1).argsort(axis=1)
    offers: NDArray[np.bool_] = rank < draws.integers(2, workers, size=questions)[:, None]
    return offers


Read = Callable[[Floats], Floats]
"""States [Q, d] to logits [Q, W]."""


def _learned(train: Recorded) -> dict[str, Read]:
    """What each router makes of states."""
    part = train.part
    options = HeadOptions() if len(part.scores) >= HeadOptions.folds else FEW
    rows = fit_head(part.features, part.scores, part.tasks, options).weights
    fitted = _fitted(train)
    return {
        ROWS: lambda states: states @ rows.T,
        BY_TASK: lambda states: fitted.head(torch.from_numpy(states)).numpy(),
        BY_TASK_EVERYWHERE: lambda states: fitted.everywhere(torch.from_numpy(states)).numpy(),
    }


def _settings(learned: Mapping[str, Read], train: Part, asked: Part) -> list[Entry]:
    """The entries of what may be seated at each setting of its knob, fitted on train."""
    found: list[Entry] = []
    for name in (ROWS, BY_TASK) if train.costs.any() else ():
        knob, logits = fit_knob(learned[name](train.features), train.costs), learned[name](asked.features)
        found += at_settings(name, logits, knob.penalty, asked.scores, asked.costs).values()
    return found


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
