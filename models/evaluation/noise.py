"""How much of the oracle's lead is luck: it chooses by the very replies by which it is scored.

Where replies were repeated, the noise-corrected oracle chooses by all repeats but one and is scored by that one, over
all of them: what choosing could bring that shows again. It is a lower bound of what a perfect router would score, as
the oracle is an upper one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics import Entry, Floats

ORACLE_CORRECTED = "oracle (noise-corrected)"

ONCE = (
    "Each reply was recorded once, so that the oracle knows its luck: a part of the gap to it cannot be closed. "
    "Simulated from the means of repeated runs, that part was 9 to 24 % on four tasks of mathematics and code, "
    "and 12 % on MBPP."
)

CORRECTED = (
    "Replies were repeated, so that the oracle's luck can be taken out: the noise-corrected oracle chooses by all "
    "repeats but one and is scored by that one. What a perfect router would score lies between the two."
)


def by_repeat(
    question: NDArray[np.integer],
    worker: NDArray[np.integer],
    scores: Floats,
    shape: tuple[int, int],
    rows: NDArray[np.intp] | None = None,
) -> NDArray[np.float64] | None:
    """Scores of replies [N] as [Q, W, R], in their order, NaN where there are fewer; None where on some question a
    worker was scored less than twice. `question`, `worker` [N]: each reply's indices; shape: (Q, W); `rows`: only these
    questions."""
    cell = np.asarray(question, np.intp) * shape[1] + worker
    counts = np.bincount(cell, minlength=shape[0] * shape[1])
    wanted = np.arange(shape[0]) if rows is None else rows
    if counts.reshape(shape)[wanted].min(initial=2) < 2 or not len(cell):
        return None
    order = np.argsort(cell, kind="stable")
    place = np.arange(len(cell)) - np.repeat(np.cumsum(counts) - counts, counts)
    found = np.full((len(counts), counts.max()), np.nan)
    found[cell[order], place] = scores[order]
    return found.reshape(*shape, -1)[wanted]


def corrected_oracle(repeats: Floats, costs: Floats) -> Entry:
    """repeats [Q, W, R], two or more of each, NaN where there are fewer than R; costs [Q, W] in USD. Of workers that
    are equal on the other repeats it takes the one that is better overall."""
    count = (~np.isnan(repeats)).sum(axis=2)
    width, usual = repeats.shape[1], np.nanmean(repeats, axis=(0, 2))
    rounds = int(count.min())
    # A worker with more repeats than another keeps the first ones: each round leaves out one of everybody.
    kept = np.sort(np.where(np.isnan(repeats), np.inf, np.arange(repeats.shape[2])), axis=2)[:, :, :rounds].astype(int)
    values = np.take_along_axis(repeats, kept, axis=2)
    scores, shares = np.zeros(len(values)), np.zeros((len(values), width))
    every = np.arange(len(values))
    for held in range(rounds):
        choice = (np.delete(values, held, axis=2).mean(axis=2) + 1e-6 * usual).argmax(axis=1)
        scores += values[every, choice, held] / rounds
        shares += np.eye(width)[choice] / rounds
    return Entry(ORACLE_CORRECTED, scores, (shares * costs).sum(axis=1), shares)
