"""Every policy of a comparison on recorded scores, fitted on one part and evaluated on another."""

from __future__ import annotations

from dataclasses import replace

import torch

from models.evaluation.baselines import Choices, baselines
from models.evaluation.metrics import Entry, entry
from models.evaluation.rivals import FORM, form_features, ridge, rivals
from models.fugu.learn.tasks import TaskHead, fit_tasks
from models.fugu.learn.warm_start import FEW, HeadOptions, fit_head
from tasks.comparing.recorded import Recorded

ROWS = "fugu (warm start)"
BY_TASK = "fugu (by task)"
BY_TASK_EVERYWHERE = "fugu (by task, no fallback)"


def contenders(train: Recorded, test: Recorded, seed: int) -> list[Entry]:
    """The entries of all baselines, rivals, controls and routers on `test`."""
    part, asked = train.part, test.part
    entries = baselines(part, asked, train.workers, seed)
    chosen = {name: rival(part, asked.features) for name, rival in rivals(seed).items()}
    chosen[FORM] = ridge(replace(part, features=form_features(train.texts)), form_features(test.texts), seed=seed)
    entries += [entry(name, choice, asked.scores, asked.costs) for name, choice in chosen.items()]
    return [*entries, *routers(train, test)]


def by_task(train: Recorded, test: Recorded) -> Choices:
    """The choices [Q] of a head of tasks on `test`, its fallback included."""
    return _fitted(train).head(torch.from_numpy(test.part.features)).numpy().argmax(axis=1)


def routers(train: Recorded, test: Recorded) -> list[Entry]:
    """The entries of the routers alone: what may be seated."""
    part, asked = train.part, test.part
    options = HeadOptions() if len(part.scores) >= HeadOptions.folds else FEW
    rows = fit_head(part.features, part.scores, part.tasks, options).weights
    fitted = _fitted(train)
    states = torch.from_numpy(asked.features)
    logits = {
        ROWS: asked.features @ rows.T,
        BY_TASK: fitted.head(states).numpy(),
        BY_TASK_EVERYWHERE: fitted.everywhere(states).numpy(),
    }
    choices = {name: each.argmax(axis=1) for name, each in logits.items()}
    return [entry(name, choice, asked.scores, asked.costs) for name, choice in choices.items()]


def _fitted(train: Recorded) -> TaskHead:
    return fit_tasks(train.part.features, train.part.scores, train.part.tasks, groups=train.groups)
