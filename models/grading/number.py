"""Grader `number`: the last number of the final answer equals the reference within a tolerance.

Read are integers, decimals, thousands separators (1,234,567), scientific notation (1.5e3, 1.5 × 10^3),
fractions (3/4, mixed 1 1/2, \\frac{3}{4}) and signs. Values are exact rationals. A unit (a percent sign
too) is never converted: where the question names one, the word beside the number must be it or be absent.
"""

from __future__ import annotations

import re
from fractions import Fraction

from pydantic import Field

from models.errors import BadInput
from models.grading.question import Question
from models.grading.verdict import Options, Verdict, boxed, final_answer, options_of

VERSION = "number/1"

MAX_CHARS = 2_000  # the last number stands at the end; a longer answer is read from there
MAX_EXPONENT = 400  # beyond a double's range nothing is a sensible answer

_CHARACTERS = str.maketrans(
    {"−": "-", "⁄": "/", "·": "*", "\u00a0": "_", "\u202f": "_", "\u2009": "_"}
    | dict(zip("½¼¾⅓⅔", (" 1/2", " 1/4", " 3/4", " 1/3", " 2/3"), strict=True))
)
_RAISED = re.compile("10([⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_LOWERED = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "+-0123456789")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_LATEX_MATH = re.compile(r"\$([^$\n]+)\$|\\[(\[](.+?)\\[)\]]")
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|operatorname)\s*\{([^{}]*)\}")

_SPACED_SIGN = re.compile(r"(^|[=:({])\s*-\s+(?=[\d.$€£¥])")

_WHOLE = r"(?:\d{1,3}(?:[,_]\d{3})+(?!\d)|\d+)"
_TO_THE = r"10\s?(?:\^|\*\*)\s?[{(]?"
_NUMBER = re.compile(
    rf"""
    (?P<sign>(?<![\w.)])[+-])?
    (?P<prefix>[$€£¥]\s?)?
    (?P<late_sign>(?<=[$€£¥])-)?
    (?<![\w^/])  # no digit of a name, a power or a date
    (?:
        (?:(?P<mixed>\d+)\ )?(?P<over>\d+)\s?/\s?(?P<under>\d+)(?![\d/]|\.\d)
      | {_TO_THE}(?P<power>[+-]?\d+)
      | (?P<value>{_WHOLE}(?:\.\d+)?|(?<!\d)\.\d+)(?!\d|\s?(?:\^|\*\*[\d(-]))
        (?:[eE](?P<e>[+-]?\d+)(?!\w) | \s?(?:[*×x]|\\times|\\cdot)\s?{_TO_THE}(?P<ten>[+-]?\d+))?
    )
    [}})]?
    """,
    re.VERBOSE,
)
_UNIT = re.compile(r"[ \t~]*[-\\]?(?P<unit>%|[°º]?\s?[^\W\d_]+(?:\^\d)?(?:[/·][^\W\d_]+(?:\^\d)?)*)?")


class NumberOptions(Options):
    """Right when the difference is at most `absolute`, or at most `relative` times the reference's size.

    `relative` left out: 0 for an integer reference, else 1e-9. `unit`: accepted spellings of the unit;
    `unit_required`: an answer without it is wrong.
    """

    absolute: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    relative: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    unit: str | tuple[str, ...] = ()
    unit_required: bool = False


def _plain(text: str) -> str:
    text = _RAISED.sub(lambda found: "10^" + found[1].translate(_LOWERED), boxed(text)[-MAX_CHARS:])
    text = _LATEX_FRACTION.sub(r" \1/\2", _LATEX_TEXT.sub(r" \1", text))
    text = _LATEX_MATH.sub(lambda found: found[1] or found[2], text)
    text = text.translate(_CHARACTERS).replace("\\%", "%").replace("\\$", "$").replace("{,}", ",")
    return _SPACED_SIGN.sub(r"\1-", text)


def _value(found: re.Match[str]) -> Fraction | None:
    try:
        if found["under"]:
            size = Fraction(int(found["over"]), int(found["under"])) + int(found["mixed"] or 0)
        else:
            exponent = int(found["e"] or found["ten"] or found["power"] or 0)
            if abs(exponent) > MAX_EXPONENT:
                return None
            size = Fraction(re.sub("[,_]", "", found["value"] or "1")) * Fraction(10) ** exponent
    except (ValueError, ZeroDivisionError):  # int() refuses thousands of digits
        return None
    return -size if "-" in (found["sign"] or found["late_sign"] or "") else size


def last_number(text: str) -> tuple[Fraction, str] | None:
    """The last number in a text as (value, the unit beside it or ""), or None."""
    plain = _plain(text)
    for found in reversed(list(_NUMBER.finditer(plain))):
        value = _value(found)
        if value is not None:
            after = _UNIT.match(plain, found.end())
            return value, (found["prefix"] or (after and after["unit"]) or "").strip()
    return None


def _same_unit(spelling: str) -> str:
    spelling = spelling.strip().casefold().replace(" ", "").replace("^2", "²").replace("^3", "³")
    return {"percent": "%", "º": "°"}.get(spelling, spelling)


def check(question: Question) -> None:
    """Raises BadInput when the reference is no number, or a unit is required and none named."""
    options = options_of(NumberOptions, question.options)
    if _reference(question) is None:
        raise BadInput("number needs a number as reference", "reference")
    if options.unit_required and not options.unit:
        raise BadInput("unit_required needs unit", "options.unit")


def _reference(question: Question) -> Fraction | None:
    if isinstance(question.reference, bool) or not isinstance(question.reference, int | float | str):
        return None
    found = last_number(str(question.reference))
    return found[0] if found else None


def grade(question: Question, reply: str) -> Verdict:
    """1 when number and unit agree, else 0."""
    options = options_of(NumberOptions, question.options)
    reference, found = _reference(question), last_number(final_answer(reply))
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
