"""A new worker joins a learned router with few labels: its own numbers are fitted, all others stay as they are.

What the pool's workers scored on a question says much of what a new one would score on it. So the new worker is
measured on some train questions, its scores on the others are predicted by a ridge regression from the others' labels,
and its part of the head is fitted to both. It is believed to be as good as that less `CAUTION` standard errors: a
worker that looks best by luck would be asked wherever the others are nearly equal.

Which questions: a part of each task, drawn at random. I-optimal design and kernel herding were tried in its place and
lose to it (data/EXPERIMENTS.md, section 17).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from models.errors import BadInput
from models.fugu import vector as vectors
from models.fugu.head import Rows, Tasks
from models.fugu.learn.targets import Floats, soft_targets
from models.fugu.learn.warm_start import HeadOptions
from models.fugu.router import Router

CAUTION = 1.0
"""Standard errors that are taken off a new worker's scores."""

PRIOR = 10.0
"""Questions' worth of the overall mean in what is learned of a task."""

PENALTIES = tuple(np.logspace(-1, 4, 11))
"""Of the regression on the others' labels; chosen by leaving one out."""

ROW_PENALTY = 0.01
"""Of a new row, beside the mean loss per question, on states that are divided by their standard deviations."""


def chosen(tasks: Sequence[str], count: int, seed: int = 0) -> NDArray[np.intp]:
    """The indices of `count` questions, of each task as large a part as of all, at random; ascending."""
    draws = np.random.default_rng(seed)
    names, task = np.unique(np.asarray(tasks), return_inverse=True)
    mixed = draws.permutation(len(task))
    place = np.empty(len(task))
    for each in range(len(names)):
        own = mixed[task[mixed] == each]
        place[own] = (np.arange(len(own)) + draws.random()) / len(own)
    return np.sort(np.argsort(place, kind="stable")[:count])


@dataclass(frozen=True)
class Predicted:
    """A new worker's scores [Q]: measured, or else predicted; and the errors [n] of the predictions on the `measured`
    [Q], each as if it had been left out."""

    scores: Floats
    measured: NDArray[np.bool_]
    errors: Floats


def predicted(known: Floats, tasks: Sequence[str], own: Floats) -> Predicted:
    """known [Q, L]: the others' labels. own [Q]: the new worker's, NaN where it was not measured. Raises BadInput where
    it was measured on fewer than two questions."""
    measured = np.isfinite(own)
    if measured.sum() < 2:
        raise BadInput("a new worker has to be measured on two questions at least", "own")
    names, task = np.unique(np.asarray(tasks), return_inverse=True)
    read = np.concatenate([known - known.mean(axis=0), np.eye(len(names))[task]], axis=1)
    seen, target = read[measured], own[measured]
    mean = target.mean()
    kernel = seen @ seen.T
    values, turned = np.linalg.eigh(kernel)
    best: tuple[float, Floats, Floats] | None = None
    for penalty in PENALTIES:
        inverse = (turned / (np.maximum(values, 0) + penalty)) @ turned.T
        dual = inverse @ (target - mean)
        left_out = dual / np.diag(inverse)  # the residual of each question, had it been left out
        if best is None or np.square(left_out).mean() < best[0]:
            best = float(np.square(left_out).mean()), left_out, seen.T @ dual
    assert best is not None
    scores = mean + read @ best[2]
    scores[measured] = target
    return Predicted(scores, measured, best[1])


def with_worker(router: Router, name: str, states: Floats, known: Floats, tasks: Sequence[str], own: Floats) -> Router:
    """The router with one more worker, its last. states [Q, d]: as the head reads them; the others as in `predicted`.

    Raises BadInput for a worker that it has, and for too few labels.
    """
    if name in router.workers:
        raise BadInput(f"the router has the worker {name!r} already", "worker")
    found = predicted(known, tasks, own)
    offsets, numbers = vectors.split(router.vector, router.layout)
    sizes = len(router.workers), router.logit_count - len(router.workers), router.backbone.width
    head = router.form.install(numbers, *sizes, torch.device("cpu"))  # fitted in numpy, wherever it will run
    if isinstance(head, Tasks):
        numbers = column(head, states, found).numbers()
    else:
        assert isinstance(head, Rows)
        numbers = with_row(head, len(router.workers), states, known, found).ravel()
    whole = np.concatenate([offsets, numbers]).astype(np.float32)
    return Router(
        router.backbone,
        whole,
        (*router.workers, name),
        router.roles,
        router.layout.name,
        router.released,
        router.form,
    )


def column(head: Tasks, states: Floats, found: Predicted) -> Tasks:
    """The head of tasks with the new worker's means, and no slopes: few labels say little of them."""
    standard = (torch.from_numpy(np.asarray(states, np.float32)) - head.centre) / head.scale
    share = torch.softmax(standard @ head.weights.T + head.bias, dim=-1).double().numpy()
    overall = found.scores.mean()
    square = share.T @ share + PRIOR * np.eye(share.shape[1])
    means = overall + np.linalg.solve(square, share.T @ (found.scores - overall))
    weight = share[found.measured] / np.maximum(share[found.measured].sum(axis=0), 1e-9)
    error = np.sqrt((weight**2 * found.errors[:, None] ** 2).sum(axis=0))
    means -= CAUTION * error
    overall -= CAUTION * found.errors.std() / np.sqrt(len(found.errors))
    zeros = torch.zeros((1 if len(head.slopes) else 0, head.slopes.shape[1]))
    return replace(
        head,
        means=torch.cat([head.means, torch.tensor(means[:, None]).float()], dim=1),
        slopes=torch.cat([head.slopes, zeros]),
        overall=torch.cat([head.overall, torch.tensor([overall]).float()]),
    )


def with_row(head: Rows, workers: int, states: Floats, known: Floats, found: Predicted) -> Floats:
    """The rows [L + 1 (+ 3), d]: the new worker's minimises the forward KL to soft targets, all others fixed."""
    from scipy.optimize import minimize

    rows = head.rows.double().cpu().numpy()
    scale = states.std(axis=0) + 1e-9
    x, fixed = states / scale, states @ rows[:workers].T
    scores = found.scores - CAUTION * found.errors.std() / np.sqrt(len(found.errors))
    targets = soft_targets(np.column_stack([known, scores]), _temperature(known, fixed))

    def loss(row: Floats) -> tuple[float, Floats]:
        logits = np.column_stack([fixed, x @ row])
        value = -(targets * log_softmax(logits, axis=1)).sum(axis=1).mean() + ROW_PENALTY / 2 * row @ row
        slope = (softmax(logits, axis=1)[:, -1] - targets[:, -1]) @ x / len(x)
        return float(value), slope + ROW_PENALTY * row

    fitted = minimize(loss, fixed.mean() * x.mean(axis=0) / max(np.square(x.mean(axis=0)).sum(), 1e-9), jac=True)
    return np.concatenate([rows[:workers], (fitted.x / scale)[None], rows[workers:]])


def _temperature(labels: Floats, logits: Floats) -> float:
    """The temperature of the soft targets that these logits [Q, L] fit best."""
    policy = log_softmax(logits, axis=1)

    def divergence(temperature: float) -> float:
        targets = soft_targets(labels, temperature)
        return float((targets * (np.log(np.maximum(targets, 1e-12)) - policy)).sum(axis=1).mean())

    return min(HeadOptions.temperatures, key=divergence)
