"""Which held-out questions stand in one table."""

from __future__ import annotations

from collections.abc import Sequence

from models.grading.question import Question

SEEN, UNSEEN, TWO_HOP = "single-hop, seen phrasings", "single-hop, unseen phrasings", "two-hop"


def held_out(questions: Sequence[Question]) -> dict[str, list[Question]]:
    """The `test` and `unseen` questions by table; empty tables are left out.

    Two-hop questions stand apart because no single worker serves them, unseen phrasings because the router was
    not trained on any like them. A question file of one's own has one table, the first.
    """
    groups: dict[str, list[Question]] = {SEEN: [], UNSEEN: [], TWO_HOP: []}
    for question in questions:
        if question.split not in ("test", "unseen"):
            continue
        name = TWO_HOP if "two-hop" in question.tags else UNSEEN if question.split == "unseen" else SEEN
        groups[name].append(question)
    return {name: group for name, group in groups.items() if group}
