"""Decisions from logits: the mask of allowed workers, and the argmax over them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import BadInput, NoWorkerAllowed
from models.fugu.roles import Role

Allowed = Iterable[str] | Sequence[bool] | Sequence[Sequence[bool]] | NDArray[np.bool_] | None
"""Worker names, or a mask [L] or [B, L]; `None` allows all."""


@dataclass(frozen=True)
class Decision:
    """A choice. `margin`: the chosen worker's logit minus the best other allowed one's (infinite if alone).

    `worker_logits` [L], `role_logits` [3] or None, both without noise. `seconds`: taken by its whole batch.
    """

    worker: str
    worker_index: int
    role: Role | None
    worker_logits: NDArray[np.float32]
    role_logits: NDArray[np.float32] | None
    margin: float
    seconds: float


def mask_of(allowed: Allowed, workers: Sequence[str], batch: int) -> NDArray[np.bool_]:
    """Which of `workers` each of `batch` decisions may choose, [batch, L]. Raises NoWorkerAllowed, BadInput."""
    count = len(workers)
    if allowed is None:
        return np.ones((batch, count), np.bool_)
    one = _array(allowed, workers)
    if one.dtype != np.bool_ or one.shape not in ((count,), (batch, count)):
        raise BadInput(f"a mask is boolean, [{count}] or [{batch}, {count}], not {one.dtype} {one.shape}", "allowed")
    mask = np.broadcast_to(one, (batch, count))
    if not mask.any(axis=1).all():
        raise NoWorkerAllowed("no worker is allowed", "allowed")
    return mask


def _array(allowed: Any, workers: Sequence[str]) -> NDArray[Any]:
    """Names as a mask; a mask as an array, its shape unchecked."""
    if isinstance(allowed, np.ndarray):
        return allowed
    if isinstance(allowed, str) or not isinstance(allowed, Iterable):
        raise BadInput(f"workers are given as names or as a mask, not as {allowed!r}", "allowed")
    given = list(allowed)  # a generator can be read only once
    if given and not any(isinstance(one, str) for one in given):
        try:
            return np.array(given)
        except ValueError:
            raise BadInput("the mask's rows differ in length", "allowed") from None
    unknown = [one for one in given if one not in workers]
    if unknown:
        raise BadInput(f"the router knows no worker {', '.join(map(str, unknown))}", "allowed")
    return np.array([worker in given for worker in workers])


def best_first(allowed: Sequence[str], workers: Sequence[str], logits: Iterable[float]) -> list[str]:
    """The allowed workers by the logits of `workers`, the greatest first; one without a logit comes last."""
    known = dict(zip(workers, logits, strict=True))
    return sorted(allowed, key=lambda name: -known.get(name, float("-inf")))


def decisions_on(
    logits: NDArray[np.float32],
    mask: NDArray[np.bool_],
    workers: Sequence[str],
    *,
    roles: bool,
    noise: NDArray[np.floating] | None = None,
    started: float | None = None,
) -> list[Decision]:
    """The choices on `logits` [B, L (+ 3)] under `mask` [B, L]; `started`: the start by `time.perf_counter`.

    Raises BadInput for logits that are not finite: finite numbers of the vector can be too large.
    """
    if noise is not None and noise.shape != logits.shape:
        raise BadInput(f"the noise has shape {noise.shape}, the logits {logits.shape}", "noise")
    if not np.isfinite(logits).all():
        raise BadInput("the logits are not finite: the vector's numbers are too large", "vector")
    noisy = logits if noise is None else logits + noise
    seconds = 0.0 if started is None else time.perf_counter() - started
    rows = zip(logits, noisy, mask, strict=True)
    return [_decision(own, with_noise, free, workers, roles, seconds) for own, with_noise, free in rows]


def _decision(
    logits: NDArray[np.float32],
    noisy: NDArray[np.floating],
    mask: NDArray[np.bool_],
    workers: Sequence[str],
    roles: bool,
    seconds: float,
) -> Decision:
    count = len(workers)
    chosen = int(np.argmax(np.where(mask, noisy[:count], -np.inf)))
    others = logits[:count][mask & (np.arange(count) != chosen)]
    margin = float(logits[chosen] - others.max()) if len(others) else float("inf")
    role = Role(int(np.argmax(noisy[count:]))) if roles else None
    role_logits = logits[count:] if roles else None
    return Decision(workers[chosen], chosen, role, logits[:count], role_logits, margin, seconds)
