"""From logits to a choice: who is allowed, and who is best among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import BadInput, NoWorkerAllowed
from models.fugu.roles import Role

Allowed = Sequence[str] | NDArray[np.bool_] | None
"""Worker names, or a mask [L] or [B, L]; `None` allows all."""


@dataclass(frozen=True)
class Decision:
    """A choice. `margin`: the chosen worker's logit minus the best other allowed one's (infinite if alone).

    `worker_logits` [L], `role_logits` [3] or None, both without noise. `seconds`: of the batch it came from.
    """

    worker: str
    worker_index: int
    role: Role | None
    worker_logits: NDArray[np.float32]
    role_logits: NDArray[np.float32] | None
    margin: float
    seconds: float


def mask_of(allowed: Allowed, workers: Sequence[str], batch: int) -> NDArray[np.bool_]:
    """Which workers each of `batch` decisions may choose, [batch, L]. Raises NoWorkerAllowed, BadInput."""
    count = len(workers)
    if allowed is None:
        return np.ones((batch, count), np.bool_)
    if not isinstance(allowed, np.ndarray):
        unknown = sorted(set(allowed) - set(workers))
        if unknown:
            raise BadInput(f"the router knows no worker {', '.join(unknown)}", "allowed")
        allowed = np.array([worker in allowed for worker in workers])
    if allowed.dtype != np.bool_ or allowed.shape not in ((count,), (batch, count)):
        raise BadInput(f"a mask is boolean, [{count}] or [{batch}, {count}], not {allowed.shape}", "allowed")
    mask = np.broadcast_to(allowed, (batch, count))
    if not mask.any(axis=1).all():
        raise NoWorkerAllowed("no worker is allowed", "allowed")
    return mask


def decided(
    workers: Sequence[str],
    roles: bool,
    logits: NDArray[np.float32],
    mask: NDArray[np.bool_],
    noise: NDArray[np.floating] | None,
    seconds: float,
) -> list[Decision]:
    """The choice on each row of `logits` [B, L (+ 3)]; `noise` of the same shape is added before the argmax."""
    if noise is not None and noise.shape != logits.shape:
        raise BadInput(f"the noise has shape {noise.shape}, the logits {logits.shape}", "noise")
    noisy = logits if noise is None else logits + noise
    return [_decision(workers, roles, *row, seconds) for row in zip(logits, noisy, mask, strict=True)]


def _decision(
    workers: Sequence[str],
    roles: bool,
    logits: NDArray[np.float32],
    noisy: NDArray[np.floating],
    mask: NDArray[np.bool_],
    seconds: float,
) -> Decision:
    count = len(workers)
    chosen = int(np.argmax(np.where(mask, noisy[:count], -np.inf)))
    others = logits[:count][mask & (np.arange(count) != chosen)]
    margin = float(logits[chosen] - others.max()) if len(others) else float("inf")
    role = Role(int(np.argmax(noisy[count:]))) if roles else None
    return Decision(workers[chosen], chosen, role, logits[:count], logits[count:] if roles else None, margin, seconds)
