"""A problem parsed from a text, or two problems where the second needs the first one's result."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Form = Literal["number", "word", "list", "file"]

NUMBER = r"-?\d+(?:\.\d+)?"
_NUMBER = re.compile(rf"(?<![\w.]){NUMBER}")
_QUOTED = re.compile(r"\"([^\"]+)\"|(?<!\w)'([^']+)'(?!\w)|“([^”]+)”")


@dataclass(frozen=True)
class Problem:
    """`kind`: the required skill; `size` (digits, letters, items, rank): the difficulty within the kind.

    `solve` computes the right result as text; `form` is the form of a guess. `slips`: wrong results, for kinds where
    swapping letters or digits would not give plausible ones.
    """

    kind: str
    size: int
    solve: Callable[[], str]
    form: Form = "number"
    slips: Callable[[], Sequence[str]] | None = None


@dataclass(frozen=True)
class TwoHop:
    """`phrase` ("the capital of France"): the part of the question that `first`'s result replaces.

    `then` parses the question with that value filled in; `second_kind` is the skill that it requires.
    """

    phrase: str
    first: Problem
    then: Callable[[str], Problem | None]
    second_kind: str


def numbers(text: str) -> list[Fraction]:
    """Every number written in digits, in order."""
    return [Fraction(found) for found in _NUMBER.findall(text)]


def quoted(text: str) -> list[str]:
    """Everything between quotation marks, in order."""
    return ["".join(groups) for groups in _QUOTED.findall(text)]


def digits(values: list[Fraction]) -> int:
    """Digits of the largest number's integer part."""
    return max((len(str(abs(int(value)))) for value in values), default=0)


def show(value: Fraction | int) -> str:
    """A number as text: an integer, or at most four decimals."""
    value = Fraction(value)
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.4f}".rstrip("0").rstrip(".")
