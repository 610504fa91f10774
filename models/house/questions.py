"""Seeded questions of seven families, graded by computation.

The splits `train`, `validation` and `test` use the seen phrasings, `unseen` the held-out ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from random import Random

from models.errors import BadInput
from models.grading.question import Question
from models.house.families import algebra, arithmetic, facts, lists, text, two_hop, units
from models.house.families.phrasing import Kind

KINDS: Mapping[str, tuple[Kind, ...]] = {
    "arithmetic": arithmetic.KINDS,
    "algebra": algebra.KINDS,
    "units": units.KINDS,
    "text": text.KINDS,
    "lists": lists.KINDS,
    "facts": facts.KINDS,
    "two_hop": two_hop.KINDS,
}
FAMILIES = tuple(KINDS)
SINGLE_HOP = tuple(family for family in FAMILIES if family != "two_hop")
SPLITS = ("train", "validation", "test", "unseen")
TWO_HOP_SHARE = 0.12

_LEADS = ("",) * 14 + (
    "Hi there. ",
    "Quick one: ",
    "Homework question. ",
    "Hello! ",
    "Another one for you: ",
    "Okay, next. ",
)
_TAILS = ("",) * 32 + (
    " Thanks!", " Just the result, please.", " No explanation needed.", " I am in a hurry.", " Keep it short.",
    " What do you think?", " Thank you in advance.", " It is for a quiz.",
)  # fmt: skip
_TRIES = 200


def generate(seed: int, split_counts: Mapping[str, int], two_hop_share: float = TWO_HOP_SHARE) -> list[Question]:
    """The given number of questions of each split, distinct in text and id; equal arguments give equal questions.

    `two_hop_share` of every split are two-hop questions (tag "two-hop"), the rest is spread evenly over the
    other families. Raises BadInput for an unknown split, and if there are no more distinct questions.
    """
    if unknown := set(split_counts) - set(SPLITS):
        raise BadInput(f"unknown split {', '.join(sorted(unknown))}; there are {', '.join(SPLITS)}", "split_counts")
    taken: set[str] = set()
    questions: list[Question] = []
    for split in SPLITS:
        rng = Random(f"house questions/{seed}/{split}")
        families = _families(split_counts.get(split, 0), two_hop_share)
        rng.shuffle(families)  # so that every part of a split contains all families
        questions += [_distinct(rng, family, split, taken) for family in families]
    return questions


def _families(count: int, two_hop_share: float) -> list[str]:
    two_hop = round(count * two_hop_share)
    return [SINGLE_HOP[i % len(SINGLE_HOP)] for i in range(count - two_hop)] + ["two_hop"] * two_hop


def _distinct(rng: Random, family: str, split: str, taken: set[str]) -> Question:
    for _ in range(_TRIES):
        question = draw(rng, family, split)
        text = question.messages[0]["content"]
        if text not in taken:
            taken.add(text)
            return question
    raise BadInput(f"family {family!r} has no more distinct questions", "split_counts")


def dressed(rng: Random, body: str) -> str:
    """The question, sometimes with a greeting or a remark around it; a program gets none."""
    lead, tail = rng.choice(_LEADS), rng.choice(_TAILS)
    return body if "\n" in body else lead + body + tail


def draw(rng: Random, family: str, split: str) -> Question:
    """One question; `split` decides which phrasings are possible."""
    kinds = KINDS[family]
    kind = rng.choices(kinds, [kind.weight for kind in kinds])[0]
    content = kind.draw(rng)
    phrasing = rng.choice(kind.unseen if split == "unseen" else kind.seen)
    text = dressed(rng, phrasing.format_map(content.slots))
    tags = (kind.name,) + (("two-hop",) if family == "two_hop" else ()) + (("unseen",) if split == "unseen" else ())
    return Question(
        id="house-" + hashlib.sha256(text.encode()).hexdigest()[:16],
        task=family,
        messages=({"role": "user", "content": text},),
        grader=content.grader,
        reference=content.reference,
        options=dict(content.options),
        split=split,
        tags=tags,
    )
