"""The conductor's reward: 0, 0.5 or 1 (Conductor, arXiv 2512.04388; seed 000, section 5.1).

Advantages within a group are trl's; these are plain numbers.
"""

from __future__ import annotations

DISCOUNT = 0.2
"""γ of the round without recursion: the released code's value (the paper's text says 0.25; REFERENCE, part f)."""


def reward(ran: bool, score: float) -> float:
    """0 for a plan that could not be run (malformed, or a fatal finding), 0.5 for a wrong answer, 1 for a right one.

    `score`: the grader's, in [0, 1]; partial credit lies between.
    """
    return 0.5 + 0.5 * score if ran else 0.0


def discounted(value: float, *, recursive: bool) -> float:
    """A round's reward in the recursion finetune: what the first round earns counts little beside its revision."""
    return value if recursive else DISCOUNT * value
