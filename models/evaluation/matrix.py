"""Label matrices: conversion of the ledger's frame, one row per (question, worker), to [Q, L] arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.errors import NotFound


def label_matrix(
    frame: pd.DataFrame,
    question_ids: Sequence[str],
    workers: Sequence[str],
    column: str = "score",
    *,
    holes: bool = False,
) -> NDArray[np.float64]:
    """A column of the labels as [Q, L], in the given order. `holes`: NaN where a label is missing.

    Raises NotFound, naming one, where labels are missing, unless `holes` allows it.
    """
    table = frame.pivot(index="question_id", columns="worker", values=column)
    matrix = table.reindex(index=list(question_ids), columns=list(workers)).to_numpy(dtype=np.float64)
    missing = np.argwhere(np.isnan(matrix))
    if len(missing) and not holes:
        question, worker = question_ids[missing[0][0]], workers[missing[0][1]]
        raise NotFound(
            f"{len(missing)} labels are missing, the first that of worker {worker!r} on question {question!r}: "
            "run the deployment refresh-labels first"
        )
    return matrix


def seen_by_all(frame: pd.DataFrame, question_ids: Sequence[str], workers: Sequence[str]) -> NDArray[np.bool_]:
    """[Q], whether each question has a label of every worker."""
    return np.asarray(~np.isnan(label_matrix(frame, question_ids, workers, holes=True)).any(axis=1))
