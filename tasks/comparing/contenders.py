"""Every policy of a comparison on recorded scores, fitted on one part and evaluated on another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.evaluation.baselines import Choices, Part, baselines, predict_tasks
from models.evaluation.calibration import expected_scores
from models.evaluation.metrics import Entry, Floats, concatenate, entry
from models.evaluation.rivals import FORM, form_features, ridge, rivals
from models.evaluation.spending import at_settings
from models.fugu.head import SCORE_PER_LOGIT
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


@dataclass(frozen=True)
class Contest:
    """Results on the same questions. `entries`: of all baselines, rivals, controls and routers. `offered`: of those
    that can choose among any workers, where each question offers a random part of them (none below three workers).
    `knobs`: of the routers at each setting of their knobs (none where nothing costs anything).

    `altered`: of each router on the sampled questions, and after it for each kind on these in perturbed form (none
    where nothing was perturbed). `expected`: by router, the score [Q] that it expects of the worker that it chooses.
    """

    entries: list[Entry]
    offered: list[Entry]
    knobs: list[Entry]
    altered: list[Entry]
    expected: dict[str, Floats]

    @classmethod
    def pooled(cls, folds: Sequence[Contest], back: NDArray[np.intp]) -> Contest:
        """Of several folds as one; `back`: the places of the questions, in their order, in that of the folds."""

        def pool(parts: Sequence[list[Entry]]) -> list[Entry]:
            return [each.rows(back) for each in concatenate(parts)] if parts[0] else []

        entries, offered, knobs = (
            pool(parts) for parts in zip(*((f.entries, f.offered, f.knobs) for f in folds), strict=True)
        )
        expected = {name: np.concatenate([fold.expected[name] for fold in folds])[back] for name in folds[0].expected}
        # A fold may hold none of the sampled questions: its entries are empty, not missing.
        return cls(entries, offered, knobs, concatenate([fold.altered for fold in folds]), expected)


def contenders(train: Recorded, test: Recorded, seed: int) -> Contest:
    """What was fitted on `train`, on `test`."""
    part, asked = train.part, test.part
    entries = baselines(part, asked, train.workers, seed)
    chosen = {name: rival(part, asked.features) for name, rival in rivals(seed).items()}
    chosen[FORM] = ridge(replace(part, features=form_features(train.texts)), form_features(test.texts), seed=seed)
    chosen[CONTRASTIVE] = contrastive(part.features, part.scores, asked.features, seed)
    entries += [entry(name, choice, asked.scores, asked.costs, asked.tokens) for name, choice in chosen.items()]
    learned = _learned(train)
    logits = {name: policy.read(asked.features) for name, policy in learned.items()}
    offers = random_offers(len(asked.scores), len(train.workers), seed)
    among = [] if offers is None else _among(offers, logits, train, test)
    expected = {name: learned[name].expects(each) for name, each in logits.items()}
    of = among, _settings(learned, part, asked), _altered(learned, test), expected
    return Contest([*entries, *_entries(logits, asked)], *of)


def by_task(train: Recorded, test: Recorded) -> Choices:
    """The choices [Q] of a head of tasks on `test`, its fallback included."""
    return _fitted(train).head(torch.from_numpy(test.part.features)).numpy().argmax(axis=1)


def routers(train: Recorded, test: Recorded) -> list[Entry]:
    """The entries of the routers alone: what may be seated."""
    return _entries({name: policy.read(test.part.features) for name, policy in _learned(train).items()}, test.part)


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


@dataclass(frozen=True)
class Policy:
    """What a router makes of states, and what its logits tell of scores: see `expected_scores`."""

    read: Read
    per_logit: float
    level: float | None = None

    def expects(self, logits: Floats) -> Floats:
        """The expected score [Q] of the worker that it chooses by these logits [Q, W]."""
        return expected_scores(logits, self.per_logit, self.level).max(axis=1)


def _learned(train: Recorded) -> dict[str, Policy]:
    """The routers that are taught by `train`."""
    part = train.part
    options = HeadOptions() if len(part.scores) >= HeadOptions.folds else FEW
    rows = fit_head(part.features, part.scores, part.tasks, options)
    fitted = _fitted(train)
    return {
        ROWS: Policy(lambda states: states @ rows.weights.T, rows.chosen.temperature, float(part.scores.mean())),
        BY_TASK: Policy(lambda states: fitted.head(torch.from_numpy(states)).numpy(), SCORE_PER_LOGIT),
        BY_TASK_EVERYWHERE: Policy(lambda states: fitted.everywhere(torch.from_numpy(states)).numpy(), SCORE_PER_LOGIT),
    }


def _altered(learned: Mapping[str, Policy], test: Recorded) -> list[Entry]:
    """Each router on the questions that were perturbed (kind ""), and then on their perturbed forms, by kind."""
    if test.altered is None:
        return []
    places = test.altered.places
    forms = {"": test.part.features[places], **test.altered.states}
    return [
        entry(f"{name}, {kind}", policy.read(states).argmax(axis=1), test.part.scores[places])
        for name, policy in learned.items()
        for kind, states in forms.items()
    ]


def _settings(learned: Mapping[str, Policy], train: Part, asked: Part) -> list[Entry]:
    """The entries of what may be seated at each setting of its knob, fitted on train."""
    found: list[Entry] = []
    for name in (ROWS, BY_TASK) if train.costs.any() else ():
        knob, logits = fit_knob(learned[name].read(train.features), train.costs), learned[name].read(asked.features)
        found += at_settings(name, logits, knob.penalty, asked.scores, asked.costs).values()
    return found


def _fitted(train: Recorded) -> TaskHead:
    return fit_tasks(train.part.features, train.part.scores, train.part.tasks, groups=train.groups)


def _entries(logits: dict[str, Floats], asked: Part) -> list[Entry]:
    of = asked.scores, asked.costs, asked.tokens
    return [entry(name, each.argmax(axis=1), *of) for name, each in logits.items()]


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
