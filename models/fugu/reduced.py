"""Deciding in int8 on a CPU, where it decides as float32 does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.fugu.router import Router

log = logging.getLogger(__name__)

LEAST = 0.995
"""The share of argmaxes, of workers and of roles, that must agree."""


def reduced(router: Router, texts: Sequence[str], least: float = LEAST) -> Router:
    """The router with int8 products, where on `texts` (held out) it decides alike and is faster; else `router` itself.

    The matrices that its vector adapts stay in float32. The log has the figures either way. Raises BadInput where the
    backbone has no int8 products (`Backbone.in_int8`).
    """
    other = Router(router.backbone.in_int8, router.vector, router.workers, router.roles, router.layout.name)
    (exact, slow), (rough, fast) = (_timed(each, texts) for each in (router, other))
    agree = agreement(exact, rough, len(router.workers))
    told = f"on {len(texts)} held-out texts {agree:.2%} of the argmaxes agree, in {fast / slow:.2f} of the time"
    if agree >= least and fast < slow:
        log.info("decisions are made in int8: %s", told)
        return other
    log.warning("decisions stay in float32, int8 is not taken: %s (at least %.1f %% must)", told, 100 * least)
    return router


def agreement(exact: NDArray[np.floating], rough: NDArray[np.floating], workers: int) -> float:
    """The share of rows [S, L (+ 3)] whose workers and, where there are some, roles have the same argmax."""
    same = exact[:, :workers].argmax(1) == rough[:, :workers].argmax(1)
    if exact.shape[1] > workers:
        same &= exact[:, workers:].argmax(1) == rough[:, workers:].argmax(1)
    return float(same.mean())


def _timed(router: Router, texts: Sequence[str]) -> tuple[NDArray[np.float32], float]:
    """Logits, and the seconds they took; matrices are laid out before."""
    run: Callable[[Sequence[str]], NDArray[np.float32]] = router.logits
    run(texts[:1])
    router.backbone.forget()
    started = time.perf_counter()
    logits = run(texts)
    return logits, time.perf_counter() - started
