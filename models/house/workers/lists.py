"""Lists of numbers or words."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import partial

from models.house.workers.problem import Form, Problem, numbers, show

_NUMBERS = re.compile(r"-?\d+(?:\.\d+)?(?:, ?-?\d+(?:\.\d+)?)+(?:,? and -?\d+)?")
_WORDS = re.compile(r"\b[a-z]+(?:, [a-z]+)+(?:,? and [a-z]+)?")

Values = list[Fraction]


def _cue(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _shown(values: Values) -> str:
    return ", ".join(map(show, values))


_OF_ONE_LIST: tuple[tuple[str, re.Pattern[str], Callable[[Values], str], Form], ...] = (
    ("second", _cue(r"\bsecond\b|after the biggest|runner-up"), lambda v: show(sorted(v)[-2]), "number"),
    ("reverse_list", _cue(r"\brevers|back to front|backwards"), lambda v: _shown(v[::-1]), "list"),
    ("evens", _cue(r"\beven\b|\bodd\b"), lambda v: _shown([x for x in v if x % 2 == 0]), "list"),
    ("distinct", _cue(r"duplicates|only once|\bunique\b"), lambda v: _shown(list(dict.fromkeys(v))), "list"),
    (
        "sort_numbers",
        _cue(r"\bsort|ascending|increasing|smallest to|line up|\border\b"),
        lambda v: _shown(sorted(v)),
        "list",
    ),
    ("average", _cue(r"\baverage\b|\bmean\b"), lambda v: show(sum(v, Fraction(0)) / len(v)), "number"),
    ("largest", _cue(r"\blargest|\bmaximum|\bbiggest|\bhighest"), lambda v: show(max(v)), "number"),
    ("smallest", _cue(r"\bsmallest|\bminimum|\bleast\b|\blowest"), lambda v: show(min(v)), "number"),
    ("total", _cue(r"\bsum|\badd\b|\btotal\b"), lambda v: show(sum(v, Fraction(0))), "number"),
)


def _of_words(text: str) -> Problem | None:
    if not re.search(r"\blength\b|number of letters|\bshort\w* words?\b", text, re.IGNORECASE):
        return None
    entries = max((re.split(r",? and |, ", found) for found in _WORDS.findall(text)), key=len, default=[])
    if len(entries) < 3:
        return None
    return Problem("by_length", len(entries), lambda: ", ".join(sorted(entries, key=len)), "list")


def read(text: str) -> Problem | None:
    """The problem about a list in the text, or `None`."""
    found = _NUMBERS.search(text)
    if found is None:
        return _of_words(text)
    values = numbers(found.group().replace(",", " "))
    rest = text.replace(found.group(), " ")
    limits = numbers(rest)
    if len(limits) == 1 and re.search(r"\bgreater\b|\babove\b|\bexceed|\bmore than\b", rest, re.IGNORECASE):
        return Problem("above", len(values), lambda: str(sum(v > limits[0] for v in values)))
    for kind, cue, work, form in _OF_ONE_LIST:
        if cue.search(rest):
            return Problem(kind, len(values), partial(work, values), form)
    return None
