"""A kind of question: a generator of its content, and its phrasings.

A phrasing is one or more whole sentences with slots for the content. `seen` phrasings occur in every split, `unseen`
ones only in the split of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

from pydantic import BaseModel, ConfigDict, RootModel

from models.house.wordings import table


@dataclass(frozen=True)
class Draw:
    """The texts of the slots, and the reference for grading."""

    slots: Mapping[str, str]
    reference: str | int | float | list[str]
    grader: str = "exact"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """`weight`: its share within the family, relative to the other kinds."""

    name: str
    weight: float
    draw: Callable[[Random], Draw]
    seen: tuple[str, ...]
    unseen: tuple[str, ...]


class _Phrasings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float
    seen: tuple[str, ...]
    unseen: tuple[str, ...]


class _Table(RootModel[dict[str, _Phrasings]]):
    pass


@cache
def _table() -> dict[str, _Phrasings]:
    return table("phrasings.yaml").parsed(_Table).root


def kind(name: str, draw: Callable[[Random], Draw]) -> Kind:
    """The kind of that name, with its phrasings in `data/house/phrasings.yaml`. Raises BadFile."""
    found = _table()[name]
    return Kind(name, found.weight, draw, found.seen, found.unseen)


def number(reference: int | float, **slots: object) -> Draw:
    """Content whose reply is graded as a number."""
    return Draw({name: str(value) for name, value in slots.items()}, reference, "number")


def word(reference: str, **slots: object) -> Draw:
    """Content whose reply is graded as text."""
    return Draw({name: str(value) for name, value in slots.items()}, reference)


def integer(rng: Random, digits: int) -> int:
    """A random integer of exactly `digits` digits, at least 2."""
    return rng.randint(max(2, 10 ** (digits - 1)), 10**digits - 1)
