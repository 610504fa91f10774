"""Training targets from labels: shrinkage, soft targets and forward KL.

Source: Fugu technical report, stage 1: the mean reward of n repeats, p = softmax(label / τ), loss KL(p ‖ π). The
report does not give τ. Shrinkage is ours: a label from few repeats is noisy, and its task's mean is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from models.errors import BadInput

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.floating]


def soft_targets(labels: Floats, temperature: float) -> Floats:
    """softmax(label / τ) over workers: labels [Q, L] in [0, 1] → targets [Q, L], each row summing to 1.

    Raises BadInput where a label is missing (NaN) or τ is not positive.
    """
    if not temperature > 0:
        raise BadInput(f"the temperature must be positive, not {temperature}", "temperature")
    if not np.isfinite(labels).all():
        raise BadInput("a soft target needs the label of every worker", "labels")
    return softmax(labels / temperature, axis=1)


def shrink(labels: Floats, tasks: Sequence[str] | NDArray[np.str_], weight: float) -> Floats:
    """Labels [Q, L] moved by `weight` in [0, 1] of the way to their task's mean over the same questions."""
    _, group = np.unique(np.asarray(tasks), return_inverse=True)
    sums = np.zeros((group.max() + 1, labels.shape[1]))
    np.add.at(sums, group, labels)
    means = sums / np.bincount(group)[:, None]
    return (1 - weight) * labels + weight * means[group]


def cross_entropy(targets: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Forward KL plus the targets' entropy, which is constant: differentiable, both [B, L]."""
    return -(targets * logits.log_softmax(dim=-1)).sum(dim=-1).mean()
