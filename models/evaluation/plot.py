"""The plot of a comparison: a bar with its 95 % interval per row of the table."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from typing import Literal

from models.evaluation.baselines import BEST_SINGLE
from models.evaluation.table import Row


def plot(
    rows: Sequence[Row], title: str = "", form: Literal["svg", "png"] = "svg", routers: Collection[str] = ()
) -> bytes:
    """Horizontal bars of the mean scores, in the table's order, with a line at the best single worker.

    `routers`: rows in another colour. The ground is white on every page, dark ones too.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # takes a second to import, and pyplot would keep global state

    figure = Figure(figsize=(8, 1 + 0.32 * len(rows)), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="mean score, 95 % bootstrap interval", title=title)
    scores = [row["score"] for row in rows]
    reach = [
        [s - row["low"] for s, row in zip(scores, rows, strict=True)],
        [row["high"] - row["score"] for row in rows],
    ]
    colours = ["#d9822b" if row["name"] in routers else "#6b8fb5" for row in rows]
    axes.barh([row["name"] for row in rows], scores, xerr=reach, color=colours, capsize=2, height=0.7)
    for row in rows:
        if row["name"] == BEST_SINGLE:
            axes.axvline(row["score"], color="#444444", linestyle=":", linewidth=1)
    axes.invert_yaxis()
    image = io.BytesIO()
    with rc_context({"svg.hashsalt": "comparison"}):  # the same rows give the same bytes
        figure.savefig(image, format=form, metadata={"Date": None} if form == "svg" else None)
    return image.getvalue()
