"""Grader `number`: the number of the final answer equals the reference within a tolerance.

`numerals.py` defines what is read as a number. Units (a percent sign too) are never converted: where the question names
a unit, the word next to the number must be that unit or be absent.
"""

from __future__ import annotations

import re
from fractions import Fraction

from pydantic import Field

from models.errors import BadInput
from models.grading.answer import graded_part, marked_answer, stated_answer
from models.grading.numerals import MAX_CHARS, Numeral, numerals, plain
from models.grading.question import Question
from models.grading.verdict import Options, Verdict, options_of

VERSION = "number/2"

_ABOUT = r"(?:(?:about|approximately|approx\.?|around|roughly|exactly|nearly|only|is|are|it is|it's|~|=)\s*)*"
_LEADING = re.compile(rf"[\s*_(\[{{$]*{_ABOUT}[\s(\[{{$]*[-+]?\s?[$€£¥]?[-+]?", re.IGNORECASE)
_GOES_ON = re.compile(r"[^=\w]{0,4}(?:=|\b(?:or|and|to)\b\s*[-+$€£¥]?\d|,\s*[-+$€£¥]?\d)")
_ASIDE = re.compile(r"(?<=[^\s=*/+(-])\s+\((?=[^()]*(?:[^\W\d]{2}|=))[^()]*\)")
_SENTENCE = re.compile(r"[.;!?]\s+(?=[A-Z])")


class NumberOptions(Options):
    """Right when the difference is at most `absolute`, or at most `relative` times the reference's size.

    `relative` left out: 0 for an integer reference, else 1e-9. `unit`: accepted spellings of the unit;
    `unit_required`: an answer without it is wrong.
    """

    absolute: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    relative: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    unit: str | tuple[str, ...] = ()
    unit_required: bool = False


def last_number(text: str) -> tuple[Fraction, str] | None:
    """The last number of a text as (value, the unit next to it or ""); None if there is none, or only a part of one."""
    return _first(numerals(plain(text))[-1:])


def answered(reply: str) -> tuple[Fraction, str] | None:
    """The number that a reply gives as its answer, in the form of `last_number`.

    Of a marked or stated answer, the number at its beginning, else the last number of its first sentence (after the
    last = sign); of any other reply the last number.
    """
    marked = marked_answer(reply)
    stated = stated_answer(reply) if marked is None else None
    if marked is None and (stated is None or not numerals(plain(stated))):
        return last_number(_ASIDE.sub("", graded_part(reply)[-2 * MAX_CHARS :]))
    text = _ASIDE.sub("", plain((marked if marked is not None else stated or "")[:MAX_CHARS]))
    found = numerals(text)
    leading = _LEADING.match(text)
    if found and leading and found[0].start <= leading.end() and not _GOES_ON.match(text, found[0].end):
        return _first(found[:1])
    sentence = _SENTENCE.split(text)[0].rpartition("=")
    return _first(numerals(sentence[2])[-1:] or numerals(sentence[0])[-1:] or found[-1:])


def _first(found: list[Numeral]) -> tuple[Fraction, str] | None:
    return (found[0].value, found[0].unit) if found and found[0].value is not None else None


def _same_unit(spelling: str) -> str:
    spelling = spelling.strip().casefold().replace(" ", "").replace("^2", "²").replace("^3", "³")
    return {"percent": "%", "º": "°"}.get(spelling, spelling)


def check(question: Question) -> None:
    """Raises BadInput when the reference is not a number, or `unit_required` is set without `unit`."""
    options = options_of(NumberOptions, question.options)
    if _reference(question) is None:
        raise BadInput("number needs a number as reference", "reference")
    if options.unit_required and not options.unit:
        raise BadInput("unit_required needs unit", "options.unit")


def _reference(question: Question) -> Fraction | None:
    if isinstance(question.reference, bool) or not isinstance(question.reference, int | float | str):
        return None
    found = numerals(plain(str(question.reference)))
    return found[0].value if len(found) == 1 else None


def grade(question: Question, reply: str) -> Verdict:
    """Score 1 when number and unit agree, else 0."""
    options = options_of(NumberOptions, question.options)
    reference, found = _reference(question), answered(reply)
    if reference is None:
        raise BadInput("number needs a number as reference", "reference")
    if found is None:
        return Verdict(0.0, "no number")
    value, unit = found
    units = (options.unit,) if isinstance(options.unit, str) else options.unit
    if units and (unit or options.unit_required) and _same_unit(unit) not in map(_same_unit, units):
        return Verdict(0.0, f"unit {unit!r}")
    relative = options.relative
    if relative is None:
        relative = 0.0 if reference.denominator == 1 else 1e-9
    allowed = max(Fraction(options.absolute), Fraction(relative) * abs(reference))
    return Verdict(1.0) if abs(value - reference) <= allowed else Verdict(0.0, f"answered {value!s:.40}")
