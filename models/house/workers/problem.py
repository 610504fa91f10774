"""What a worker makes of a text: one problem, or two of which the second needs the first one's result."""

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
    """`kind` names the skill it takes; `size` (digits, letters, items, rank) says how hard it is for its kind.

    `solve` computes the right result, as text; `form` says what a guess would have to look like. `slips`: results that
    are wrong, where swapping letters or digits would make no likely ones.
    """

    kind: str
    size: int
    solve: Callable[[], str]
    form: Form = "number"
    slips: Callable[[], Sequence[str]] | None = None


@dataclass(frozen=True)
class TwoHop:
    """`phrase` ("the capital of France") stands in the question where `first`'s result belongs.

    `then` reads the question with a value put in its place; `second_kind` is the skill that this takes.
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
    """A number as one writes it: an integer, or at most four decimals."""
    value = Fraction(value)
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.4f}".rstrip("0").rstrip(".")
