"""The groups of held-out questions; each has its own comparison table."""

from __future__ import annotations

from models.grading.question import Question

SEEN, UNSEEN, TWO_HOP = "single-hop, seen phrasings", "single-hop, unseen phrasings", "two-hop"
GROUPS = (SEEN, UNSEEN, TWO_HOP)

HELD_OUT = ("test", "unseen")
"""The splits of held-out questions."""


def group_of(question: Question) -> str | None:
    """The group of a held-out question (`HELD_OUT`); None for a question used in training.

    Two-hop questions are separate because no single worker can answer them, unseen phrasings because the router was
    not trained on any like them. A user's question file normally has one group, the first.
    """
    if question.split not in HELD_OUT:
        return None
    if "two-hop" in question.tags:
        return TWO_HOP
    return UNSEEN if question.split == "unseen" else SEEN
