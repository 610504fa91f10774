"""Questions that contain another question: "How many letters does the capital of France have?" """

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from models.house import almanac
from models.house.workers.problem import Problem, TwoHop

_LIST = r"\[?-?\d+(?:, -?\d+)+\]?"
_TERM = r"(?:\d*[a-z]|\d+)"
_SIDE = rf"{_TERM}(?: [-+] {_TERM})*"
_EVENTS = "|".join(map(re.escape, almanac.EVENTS))
_PHRASE = re.compile(
    r"the capital(?: city)? of (?-i:[A-Z][a-z]+)"
    r"|the atomic number of [a-z]+"
    r"|the number of letters (?:in|of) '[^']+'"
    r"|the reverse of '[^']+'"
    rf"|the (?:largest|smallest)(?: number)? (?:of|in) {_LIST}"
    r"|the sum of \d+ and \d+"
    rf"|the solution of {_SIDE} = {_SIDE}"
    rf"|the year (?:in which|when) (?:{_EVENTS})",
    re.IGNORECASE,
)
_STAND_INS = {"number": ("7", "1969"), "word": ("banana", "France"), "list": ("3, 1, 2",)}
"""Values tried in place of the first result, to parse the rest of the question."""

Reader = Callable[[str], Problem | None]


def read(text: str, read_single: Reader) -> TwoHop | None:
    """The two problems of the text, or `None` if no phrase, once replaced by its value, leaves a second problem."""
    if (found := _PHRASE.search(text)) is None or (first := read_single(found.group())) is None:
        return None
    then = partial(_rest, text, found.span(), first.form == "word", read_single)
    second = next((problem for value in _STAND_INS[first.form] if (problem := then(value))), None)
    return TwoHop(found.group(), first, then, second.kind) if second else None


def _rest(text: str, span: tuple[int, int], quote: bool, read_single: Reader, value: str) -> Problem | None:
    value = f"'{value}'" if quote else value
    return read_single(text[: span[0]] + value + text[span[1] :])
