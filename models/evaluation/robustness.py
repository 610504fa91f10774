"""How often a router chooses another worker for a question that means the same, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.evaluation.metrics import Entry, Interval, paired

TITLE = "Choices on questions that mean the same"
NOTE = (
    "Typos, a polite suffix and a rewording by rules (an opening phrase, other words for instructions, the question "
    "first), on questions chosen by their digest. The loss takes the workers' scores on the question as it was."
)


@dataclass(frozen=True)
class Flips:
    """`rate`: the share of `questions` whose chosen worker changes; `loss`: what the choices lose in mean score by it,
    where the workers' scores are those on the unchanged question."""

    kind: str
    questions: int
    rate: Interval
    loss: Interval

    @property
    def row(self) -> dict[str, Any]:
        """The figures as JSON values."""
        rate = {"flip_rate": self.rate.value, "flip_rate_low": self.rate.low, "flip_rate_high": self.rate.high}
        loss = {"loss": self.loss.value, "loss_low": self.loss.low, "loss_high": self.loss.high}
        return {"perturbation": self.kind, "n": self.questions, **rate, **loss}

    @property
    def told(self) -> dict[str, str]:
        """The figures for a person, by name."""
        return {
            "perturbation": self.kind,
            "questions": str(self.questions),
            "flip rate [95 %]": f"{self.rate.value:.1%} [{self.rate.low:.1%}, {self.rate.high:.1%}]",
            "loss of score [95 %]": f"{self.loss.value:+.4f} [{self.loss.low:+.4f}, {self.loss.high:+.4f}]",
        }


def flips(kind: str, before: Entry, after: Entry) -> Flips:
    """`before`, `after`: a policy's entries on the same questions, unchanged and perturbed."""
    kept = np.minimum(before.shares, after.shares).sum(axis=1)
    return Flips(kind, len(kept), paired(1 - kept), paired(before.scores - after.scores))
