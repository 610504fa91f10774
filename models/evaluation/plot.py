"""The plot of a comparison: a bar with its 95 % interval per row of the table."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from models.evaluation.baselines import BEST_SINGLE
from models.evaluation.metrics import Interval
from models.evaluation.table import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot(
    rows: Sequence[Row], title: str = "", form: Literal["svg", "png"] = "svg", routers: Collection[str] = ()
) -> bytes:
    """Horizontal bars of the mean scores, in the table's order, with a line at the best single worker.

    `routers`: rows in another colour. The ground is white on every page, dark ones too.
    """
    figure, axes = _figure(1 + 0.32 * len(rows), xlabel="mean score, 95 % bootstrap interval", title=title)
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
    return _drawn(figure, form)


def cost_plot(
    rows: Sequence[Row],
    workers: Collection[str],
    title: str = "",
    knobs: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> bytes:
    """Cost against score as SVG: workers as points with their 95 % intervals, the hull of what mixing them can reach,
    and every other row by name. `knobs`: by router, its points at the settings of its knob."""
    figure, axes = _figure(5, xlabel="USD for 1,000 questions", ylabel="mean score, 95 % interval", title=title)
    alone = [(row["cost_per_1000"], row["score"]) for row in rows if row["name"] in workers]
    axes.plot(*zip(*hull(alone), strict=True), color="#6b8fb5", linewidth=1)
    for name, points in (knobs or {}).items():
        axes.plot(*zip(*points, strict=True), ".-", linewidth=1, markersize=3, label=f"{name}, by its knob")
    if knobs:
        axes.legend(loc="lower right", fontsize=7)
    for row in rows:
        ends = [[row["score"] - row["low"]], [row["high"] - row["score"]]]
        colour = "#6b8fb5" if row["name"] in workers else "#d9822b"
        axes.errorbar(row["cost_per_1000"], row["score"], yerr=ends, fmt="o", color=colour, markersize=4, capsize=2)
        axes.annotate(
            row["name"], (row["cost_per_1000"], row["score"]), fontsize=7, xytext=(4, 4), textcoords="offset points"
        )
    return _drawn(figure, "svg")


def curve_plot(points: Mapping[int, Interval]) -> bytes:
    """Gains over the best single worker by the number of train questions, as SVG, with their 95 % intervals."""
    figure, axes = _figure(3, xlabel="train questions", ylabel="gain, 95 % interval", xscale="log")
    gains = list(points.values())
    reach = [[gain.value - gain.low for gain in gains], [gain.high - gain.value for gain in gains]]
    axes.errorbar(list(points), [gain.value for gain in gains], yerr=reach, fmt="o-", color="#d9822b", capsize=3)
    axes.axhline(0, color="#444444", linestyle=":", linewidth=1)
    axes.set_xticks(list(points), [f"{size:,}" for size in points])
    axes.minorticks_off()
    return _drawn(figure, "svg")


def hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The upper hull of (cost, score) from the cheapest point to the best one: no score on it falls as cost grows."""
    found: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if found and score <= found[-1][1]:
            continue
        while len(found) > 1 and _turns_up(found[-2], found[-1], (cost, score)):
            found.pop()
        found.append((cost, score))
    return found


def _turns_up(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - b[0]) <= (c[1] - b[1]) * (b[0] - a[0])


def _figure(height: float, **axes: str) -> tuple[Figure, Axes]:
    """An empty figure of this height and its axes, on a ground that is white on dark pages, too."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # takes a second to import, and pyplot would keep global state

    figure = Figure(figsize=(8, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot(**axes)


def _drawn(figure: Figure, form: str) -> bytes:
    from matplotlib import rc_context

    image = io.BytesIO()
    with rc_context({"svg.hashsalt": "comparison"}):  # the same rows give the same bytes
        figure.savefig(image, format=form, metadata={"Date": None} if form == "svg" else None)
    return image.getvalue()
