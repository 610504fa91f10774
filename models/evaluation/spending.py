"""What the knob between quality and cost is worth: the curve of a router over its settings, beside that of no router.

Sources: RouterBench (arXiv 2403.12031) for AIQ, the mean score of the non-decreasing hull over the range of the
workers' costs, and for the Zero router, the hull of the single workers, which mixes them blindly; RouteLLM (arXiv
2406.18665) for APGR and CPT, here between the cheapest worker and the best single one, by cost instead of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.evaluation.metrics import Entry, Floats, Interval, bootstrap, entry, interval
from models.evaluation.plot import hull

TITLE = "What the knob between quality and cost is worth"

SETTINGS: tuple[float, ...] = tuple(np.linspace(0, 1, 11).tolist())
"""Of the knob, at which it is measured."""

Curve = Sequence[tuple[float, float]]
"""Points of (cost, score)."""


@dataclass(frozen=True)
class Spending:
    """`points`: of the router by setting, USD for 1,000 questions and score. `aiq`: of its curve, and of the Zero
    router's with `zero`; `gain`: their difference. `apgr`: the part of the difference between the cheapest worker and
    the best single one that is had, averaged over what may be spent between them. `matched`: the least cost at which
    the curve is as good as the best single worker, as a part of that one's cost, and `half`: at which half of the
    difference is had; None where that is nowhere."""

    points: dict[float, tuple[float, float]]
    aiq: float
    zero: float
    gain: Interval
    apgr: float | None
    matched: float | None
    half: float | None

    @property
    def row(self) -> dict[str, Any]:
        """The figures as JSON values."""
        gain = {"gain": self.gain.value, "gain_low": self.gain.low, "gain_high": self.gain.high}
        at = {f"{setting:g}": list(point) for setting, point in self.points.items()}
        rest = {"apgr": self.apgr, "matched": self.matched, "half": self.half}
        return {"aiq": self.aiq, "zero_aiq": self.zero, **gain, **rest, "points": at}

    @property
    def curve(self) -> Curve:
        """The points by ascending setting: from the router's own choices to the cheapest worker."""
        return [self.points[setting] for setting in sorted(self.points)]

    @property
    def told(self) -> dict[str, str]:
        """The figures for a person, by name."""
        gain = f"{self.gain.value:+.4f} [{self.gain.low:+.4f}, {self.gain.high:+.4f}]"
        shares = {"as good as the best single worker at": self.matched, "half way there at": self.half}
        return {
            "AIQ": f"{self.aiq:.4f}",
            "over mixing workers blindly [95 %]": gain,
            "APGR": "–" if self.apgr is None else f"{self.apgr:.2f}",
            **{name: "–" if share is None else f"{share:.0%} of its cost" for name, share in shares.items()},
        }


def setting_of(name: str, setting: float) -> str:
    """The name of a router's entry at a setting of its knob."""
    return f"{name} at {setting:g}"


def at_settings(
    name: str, logits: Floats, penalty: Callable[[float], Floats], scores: Floats, costs: Floats
) -> dict[float, Entry]:
    """A router's entry at each setting. logits, scores, costs [Q, W]; penalty: a setting -> [W]."""
    choices = {setting: (logits - penalty(setting)).argmax(axis=1) for setting in SETTINGS}
    return {s: entry(setting_of(name, s), chosen, scores, costs) for s, chosen in choices.items()}


def spending(
    curve: Mapping[float, Entry], workers: Sequence[Entry], single: int, resamples: int = 1000, seed: int = 0
) -> Spending | None:
    """Of a router's results by setting, beside each worker's own; `single`: the best single worker. `None` where all
    workers cost the same."""
    entries, settings = [*curve.values(), *workers], len(curve)
    values = np.stack([1000 * each.costs for each in entries] + [each.scores for each in entries], axis=1)

    def read(means: Floats) -> tuple[Curve, Curve]:
        points = list(zip(means[: len(entries)].tolist(), means[len(entries) :].tolist(), strict=True))
        return points[:settings], points[settings:]

    def both(means: Floats) -> tuple[float, float]:
        own, alone = read(means)
        low, high = min(alone), max(cost for cost, _ in alone)
        return aiq([low, *own], low[0], high), aiq(alone, low[0], high)

    own, alone = read(values.mean(axis=0))
    weak, strong = min(alone), alone[single]
    if max(cost for cost, _ in alone) <= weak[0]:
        return None
    (router, zero), resampled = (
        both(values.mean(axis=0)),
        np.array([both(row) for row in bootstrap(values, resamples, seed)]),
    )
    gain = interval(router - zero, resampled[:, 0] - resampled[:, 1])
    points, reach = dict(zip(curve, own, strict=True)), [weak, *own]
    if strong[1] <= weak[1] or strong[0] <= weak[0]:
        return Spending(points, router, zero, gain, None, None, None)
    apgr = (aiq(reach, weak[0], strong[0]) - weak[1]) / (strong[1] - weak[1])
    halfway = (weak[1] + strong[1]) / 2
    return Spending(
        points, router, zero, gain, apgr, *(_share(reach, each, strong[0]) for each in (strong[1], halfway))
    )


def aiq(points: Curve, low: float, high: float) -> float:
    """The mean height of the non-decreasing hull of (cost, score) between two costs, the lower one that of a point."""
    cost, score = (np.array(each) for each in zip(*hull(points), strict=True))
    at = np.unique(np.clip([low, *cost, high], low, high))
    return float(np.trapezoid(np.interp(at, cost, score), at) / (high - low))


def _share(points: Curve, wanted: float, whole: float) -> float | None:
    """The least cost of the hull at which this score is had, as a part of the whole cost."""
    cost, score = (np.array(each) for each in zip(*hull(points), strict=True))
    return None if score[-1] < wanted else float(np.interp(wanted, score, cost) / whole)
