"""Which held-out questions stand in one table."""

from __future__ import annotations

from models.grading.question import Question

SEEN, UNSEEN, TWO_HOP = "single-hop, seen phrasings", "single-hop, unseen phrasings", "two-hop"
GROUPS = (SEEN, UNSEEN, TWO_HOP)


def group_of(question: Question) -> str | None:
    """The table of a held-out question (split `test` or `unseen`), None for one that is learned from.

    Two-hop questions stand apart because no single worker serves them, unseen phrasings because the router was
    not trained on any like them. A question file of one's own has one table, the first.
    """
    if question.split not in ("test", "unseen"):
        return None
    if "two-hop" in question.tags:
        return TWO_HOP
    return UNSEEN if question.split == "unseen" else SEEN
