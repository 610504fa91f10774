"""Whether a worker has become worse under its name: a sequential test on questions that it has answered before.

At each refresh of the labels some questions are asked again. If nothing has changed, an old answer and a new one to the
same question are exchangeable: of the pairs that differ, as many are better as worse. That is a sign test, exact for
scores of any distribution; its pairs are independent of earlier ones, since every answer is compared with the one
before it alone, and questions are chosen by their age and never by their scores. A change may show at once or take two
refreshes, so the last one and the last two are tested, each at half of `ALARM`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import binom

ALARM = 0.005
"""The false-alarm rate of one worker at one refresh, at most: one in 200."""

WINDOWS = (1, 2)
"""Refreshes that are tested together, the last ones."""


@dataclass(frozen=True)
class Drift:
    """A worker's newest pairs of answers: `pairs` in all, `worse` and `better` among those whose scores differ; mean
    scores `before` and `now`; `p`, as if only this window were tested; `fell`: whether that is too little for chance;
    `alarm`: whether it was not known after the refresh before."""

    worker: str
    pairs: int
    worse: int
    better: int
    before: float
    now: float
    p: float
    fell: bool
    alarm: bool = False


def drifts(repeated: pd.DataFrame) -> list[Drift]:
    """Of each worker, by the window that says most. `repeated`: `models.ledger.labels.repeated`."""
    return [_of(str(worker), found) for worker, found in repeated.groupby("worker", sort=True)]


def _of(worker: str, frame: pd.DataFrame) -> Drift:
    epochs = sorted(frame["epoch"].unique())
    now, before = _at(worker, frame, epochs), _at(worker, frame, epochs[:-1])
    assert now is not None
    return replace(now, alarm=now.fell and not (before is not None and before.fell))


def _at(worker: str, frame: pd.DataFrame, epochs: Sequence[int]) -> Drift | None:
    """After the last of these epochs; `None` for none."""
    if not epochs:
        return None
    found = [_window(worker, frame[frame["epoch"].isin(list(epochs[-size:]))]) for size in WINDOWS]
    return min(found, key=lambda each: each.p)


def _window(worker: str, frame: pd.DataFrame) -> Drift:
    change = (frame["now"] - frame["before"]).to_numpy()
    worse, better = int(np.sum(change < 0)), int(np.sum(change > 0))
    p = float(binom.sf(worse - 1, worse + better, 0.5)) if worse else 1.0
    means = float(frame["before"].mean()), float(frame["now"].mean())
    return Drift(worker, len(frame), worse, better, *means, p, p <= ALARM / len(WINDOWS))
