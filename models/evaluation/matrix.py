"""Label matrices: conversion of the ledger's frame, one row per (question, worker), to [Q, L] arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.errors import NotFound


def label_matrix(
    frame: pd.DataFrame, question_ids: Sequence[str], workers: Sequence[str], column: str = "score"
) -> NDArray[np.float64]:
    """A column of the labels as [Q, L], in the given order. Raises NotFound, naming one, where labels are missing."""
    table = frame.pivot(index="question_id", columns="worker", values=column)
    matrix = table.reindex(index=list(question_ids), columns=list(workers)).to_numpy(dtype=np.float64)
    holes = np.argwhere(np.isnan(matrix))
    if len(holes):
        question, worker = question_ids[holes[0][0]], workers[holes[0][1]]
        raise NotFound(
            f"{len(holes)} labels are missing, the first that of worker {worker!r} on question {question!r}: "
            "run the deployment refresh-labels first"
        )
    return matrix
