"""A rival of the heads: contrastive learning places workers among the questions that they answer.

Source: RouterDC (arXiv 2409.19886), its loss between questions and workers, on frozen states.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from models.fugu.learn.targets import Floats

_POINTS, _SHARPNESS, _PATIENCE = 64, 0.1, 3
"""Dimensions of the space of workers and questions; what a cosine is divided by; epochs without a gain at the end."""


def contrastive(train: Floats, scores: Floats, asked: Floats, seed: int = 0) -> NDArray[np.intp]:
    """A linear map of the states and a point for each worker, both of `_POINTS` dimensions: the cosine to workers that
    score above a question's mean is raised above that to the ones below it. Stopped early on a tenth of train.

    train [Q, d], scores [Q, L]; returns the choice [q] for `asked` [q, d].
    """
    draws = torch.Generator().manual_seed(seed)
    centre, spread = train.mean(axis=0), train.std(axis=0) + 1e-9
    states, new = (torch.from_numpy((each - centre) / spread).float() for each in (train, asked))
    labels = torch.from_numpy(scores).float()
    order = torch.randperm(len(labels), generator=draws)
    early, rest = order[: len(order) // 10], order[len(order) // 10 :]
    above = labels > labels.mean(dim=1, keepdim=True)
    rest = rest[above[rest].any(dim=1)]  # where all score the same there is nobody to tell apart
    shape = states.shape[1], labels.shape[1]
    place = (torch.randn(shape[0], _POINTS, generator=draws) / shape[0] ** 0.5).requires_grad_()
    points = torch.randn(shape[1], _POINTS, generator=draws).requires_grad_()

    def likeness(rows: torch.Tensor) -> torch.Tensor:
        unit = torch.nn.functional.normalize
        return unit(rows @ place, dim=1) @ unit(points, dim=1).T / _SHARPNESS

    def chosen(rows: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return likeness(rows).argmax(dim=1)

    adam = torch.optim.AdamW([place, points], lr=3e-3, weight_decay=0.1)
    best, kept, waited = -1.0, [each.detach().clone() for each in (place, points)], 0
    while len(rest) and waited < _PATIENCE:
        for batch in rest[torch.randperm(len(rest), generator=draws)].split(256):
            found = likeness(states[batch])
            below = found.masked_fill(above[batch], -torch.inf).logsumexp(dim=1, keepdim=True)
            loss = torch.nn.functional.softplus(below - found)[above[batch]].mean()
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()
        now = float(labels[early, chosen(states[early])].mean()) if len(early) else 0.0
        waited = waited + 1 if now <= best else 0
        if now > best:
            best, kept = now, [each.detach().clone() for each in (place, points)]
    place, points = kept
    return chosen(new).numpy().astype(np.intp)
