"""Whether the score that a router expects of the worker that it chooses is the score that it gets.

Sources: Brier (1950); Naeini et al. (2015) for the expected calibration error, here over bins of equally many
questions. Both are defined for scores in [0, 1], of which right and wrong are the ends. What a router expects differs
by its head. A head of tasks adds up expected scores. Rows that were fitted by forward KL to softmax(label / τ) know
differences only: τ times a difference of logits is one of expected scores, and their level is the mean of train. A
router that was evolved on reward expects nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.errors import BadInput
from models.evaluation.metrics import Floats

TITLE = "Calibration: the expected score of the chosen worker beside the measured one"

BINS = 10
EACH = 20
"""Questions in a bin at least."""


@dataclass(frozen=True)
class Bin:
    """Questions of like predictions: how many, and the means of what was predicted and measured."""

    questions: int
    predicted: float
    measured: float


@dataclass(frozen=True)
class Calibration:
    """`predicted`, `measured`: mean scores; `ece`: mean distance of the two over `bins`; `chance`: the ECE of a router
    without any error, since bins are finite; `brier`: mean squared error; `skill`: the part of the Brier score of a
    constant prediction that is saved (None where all scores are equal)."""

    questions: int
    predicted: float
    measured: float
    ece: float
    chance: float
    brier: float
    skill: float | None
    bins: tuple[Bin, ...]

    @property
    def row(self) -> dict[str, Any]:
        """The figures as JSON values."""
        names = ("predicted", "measured", "ece", "chance", "brier", "skill")
        bins = [[each.questions, each.predicted, each.measured] for each in self.bins]
        return {"n": self.questions, **{name: getattr(self, name) for name in names}, "bins": bins}

    @property
    def told(self) -> dict[str, str]:
        """The figures for a person, by name."""
        return {
            "questions": str(self.questions),
            "expected": f"{self.predicted:.3f}",
            "measured": f"{self.measured:.3f}",
            "ECE (by chance)": f"{self.ece:.3f} ({self.chance:.3f})",
            "Brier": f"{self.brier:.3f}",
            "Brier skill": "–" if self.skill is None else f"{self.skill:+.3f}",
            "expected → measured, by bin": ", ".join(f"{b.predicted:.2f} → {b.measured:.2f}" for b in self.bins),
        }


def calibration(predicted: Floats, measured: Floats) -> Calibration:
    """predicted, measured [Q]: scores of the chosen workers; predictions are clipped to [0, 1]. Raises BadInput for
    shapes that differ or no question."""
    if predicted.shape != measured.shape or not len(predicted):
        raise BadInput("predicted and measured scores must be of the same questions, one at least", "predicted")
    said = np.clip(predicted, 0.0, 1.0)
    count = max(1, min(BINS, len(said) // EACH))
    # Equal predictions share a bin: parted at random they would look like errors.
    edges = np.unique(np.quantile(said, np.linspace(0, 1, count + 1)))
    place = np.searchsorted(edges[1:-1], said, side="right")
    error, bins, ece, chance = measured - said, [], 0.0, 0.0
    for each in np.unique(place):
        own = place == each
        bins.append(Bin(int(own.sum()), float(said[own].mean()), float(measured[own].mean())))
        ece += own.mean() * abs(error[own].mean())
        chance += own.mean() * np.sqrt(2 / np.pi / own.sum()) * error[own].std()  # the mean of |normal| is √(2/π) σ
    brier, plain = float((error**2).mean()), float(measured.var())
    skill = 1 - brier / plain if plain > 1e-12 else None
    means = float(said.mean()), float(measured.mean())
    return Calibration(len(said), *means, float(ece), float(chance), brier, skill, tuple(bins))


def expected_scores(logits: Floats, per_logit: float, level: float | None = None) -> Floats:
    """What logits [Q, L] expect of each worker, [Q, L]. `per_logit`: score for a logit (τ of rows); `level`: the mean
    over workers, where logits tell differences alone."""
    return per_logit * (logits if level is None else logits - logits.mean(axis=1, keepdims=True)) + (level or 0.0)
