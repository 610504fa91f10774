"""In which order attempts tell most, for a refresh whose money may not suffice for all."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from models.digest import json_digest
from models.ledger.labels import Cell

UNKNOWN = 0.5
"""The disagreement on a question without two labels: as much as scores of 0 and 1 can have."""


def most_telling(cells: Sequence[Cell], known: pd.DataFrame, first: Collection[Cell] = ()) -> list[Cell]:
    """The cells, the most telling first: `first`; then those without a label before those whose label is old, a first
    repeat before a second, and of these the questions on which the workers disagree most, where a choice decides.

    `known`: the labels, as `models.ledger.labels.labels` gives them.
    """
    spread = known.groupby("question_id")["score"].agg(
        lambda scores: scores.std(ddof=0) if len(scores) > 1 else UNKNOWN
    )
    has = set(zip(known["question_id"], known["worker"], known["revision"], strict=True))
    ahead = set(first)

    def key(cell: Cell) -> tuple[bool, bool, int, float, str]:
        labelled = (cell.question_id, cell.worker, cell.revision) in has
        doubt = float(spread.get(cell.question_id, UNKNOWN))
        return cell not in ahead, labelled, cell.repeat, -doubt, json_digest([cell.question_id, cell.epoch])

    return sorted(cells, key=key)
