"""Unlabelled text in the style of house questions, for the backbone's short pretraining.

A line is a short document on one topic: two questions of a kind in different seen phrasings, or a question and a
sentence about its subject, in the router's raw form ("user: ...") or plain; some are joined into one message. No line
contains an unseen phrasing, the result of a question, a score or a worker's name.
"""

from __future__ import annotations

from random import Random

from models.fugu.roles import DISPATCHER, Note, Role
from models.house.families.phrasing import Kind
from models.house.questions import KINDS, dressed
from models.house.wordings import glosses

REVISION = 4
"""Part of the backbone's digest: change the number whenever the output of `corpus` changes."""

_POOL_SIZES = range(2, 9)


def corpus(seed: int, n: int) -> list[str]:
    """`n` lines; equal arguments give equal lines."""
    rng = Random(f"house text/{seed}")
    families = tuple(KINDS.values())
    return [_line(rng, rng.choice(families)) for _ in range(n)]


def _line(rng: Random, kinds: tuple[Kind, ...]) -> str:
    kind = rng.choices(kinds, [kind.weight for kind in kinds])[0]
    parts = [_question(rng, kind), _question(rng, kind) if rng.random() < 0.45 else _gloss(rng, kind)]
    if rng.random() < 0.3:
        rng.shuffle(parts)
    if rng.random() < 0.4:
        parts = [_run_together(rng, parts)]
    if rng.random() < 0.6:
        parts = [f"user: {part}" for part in parts]
        if rng.random() < 0.5:
            parts.insert(0, f"system: {DISPATCHER.format(workers=rng.choice(_POOL_SIZES))}")
    if rng.random() < 0.2:
        # As the router reads a conversation with thoughts; this also makes the tags few tokens.
        parts += [Note(Role.SOLVER, k, _gloss(rng, kind)).block for k in range(rng.choice((1, 1, 2, 3)))]
    return "\n".join(parts)


def _run_together(rng: Random, parts: list[str]) -> str:
    """One message, often without full stops: the last word must then predict the topic of what follows."""
    return " ".join(part.rstrip("?.") if rng.random() < 0.6 else part for part in parts)


def _question(rng: Random, kind: Kind) -> str:
    return dressed(rng, rng.choice(kind.seen).format_map(kind.draw(rng).slots))


def _gloss(rng: Random, kind: Kind) -> str:
    return rng.choice(glosses()[kind.name]).format_map(kind.draw(rng).slots)
