"""Equations and polynomials, read from formulas or from words, and solved exactly."""

from __future__ import annotations

import re
from collections import defaultdict
from fractions import Fraction
from functools import partial
from itertools import pairwise
from math import isqrt

from models.house.workers.problem import Problem, digits, numbers, show

_TERM = r"(?:\d*[a-z](?:\^\d)?|\d+)(?![a-z\d^])"
_POLYNOMIAL = rf"(?<![\w^'])-?\s?{_TERM}(?:\s?[-+]\s?{_TERM})*"
_EQUATION = re.compile(rf"({_POLYNOMIAL})\s?=\s?({_POLYNOMIAL})")
_ALONE = re.compile(_POLYNOMIAL)
_ASSIGNMENT = re.compile(r"(?<![-+] )\b([a-z]) = (-?\d+)\b")
_PART = re.compile(r"(-?)\s*(\d*)([a-z]?)(?:\^(\d))?$")

Polynomial = dict[int, Fraction]
"""Degree to coefficient."""


def _parse(text: str) -> Polynomial:
    """The polynomial in the single letter that the text uses."""
    result: Polynomial = defaultdict(Fraction)
    for part in re.sub(r"\s", "", text).replace("-", "+-").split("+"):
        if part and (found := _PART.match(part)):
            sign, coefficient, letter, exponent = found.groups()
            degree = int(exponent or 1) if letter else 0
            result[degree] += Fraction(coefficient or 1) * (-1 if sign else 1)
    return result


def _letters(text: str) -> set[str]:
    return set(re.findall(r"[a-z]", text))


def _linear_root(polynomial: Polynomial) -> str:
    return show(-polynomial[0] / polynomial[1])


def _larger_root(polynomial: Polynomial) -> str:
    a, b, c = polynomial[2], polynomial[1], polynomial[0]
    discriminant = b * b - 4 * a * c
    if discriminant < 0 or discriminant.denominator != 1 or isqrt(int(discriminant)) ** 2 != discriminant:
        raise ValueError("no rational root")
    root = isqrt(int(discriminant))
    return show(max((-b + root) / (2 * a), (-b - root) / (2 * a)))


def _evaluate(polynomial: Polynomial, at: int) -> str:
    return show(sum((c * at**degree for degree, c in polynomial.items()), Fraction(0)))


def _value(text: str) -> Problem | None:
    if (given := _ASSIGNMENT.search(text)) is None:
        return None
    rest = text.replace(given.group(), "")
    for found in _ALONE.findall(rest):
        if given.group(1) in _letters(found) and len(found.strip()) > 1:
            return Problem("value", digits(numbers(text)), partial(_evaluate, _parse(found), int(given.group(2))))
    return None


def _system(text: str) -> Problem | None:
    values = numbers(text)
    lowered = text.lower()
    formulas = re.search(r"x \+ y = (\d+).*x - y = (\d+)", text)
    worded = len(values) == 2 and (
        re.search(r"add up|\bsum\b|together", lowered) and re.search(r"differ|more than", lowered)
    )
    if formulas or worded:
        total, difference = numbers(" ".join(formulas.groups())) if formulas else values
        return Problem("system", digits(values), lambda: show((total + difference) / 2))
    return None


def _riddle(text: str) -> Problem | None:
    values, lowered = numbers(text), text.lower()
    cues = (r"multipl|\btimes\b", r"\badd\b|\bplus\b|increased", r"\bresult\b|\bgives?\b|\bget\b|\bmakes?\b")
    if len(values) == 3 and all(re.search(cue, lowered) for cue in cues):
        a, b, c = values
        return Problem("riddle", digits(values), lambda: show((c - b) / a))
    return None


def _equation(text: str) -> Problem | None:
    found = _EQUATION.search(text)
    if found is None or not _letters(found.group()):
        quadratic = next((p for p in _ALONE.findall(text) if "^2" in p and _letters(p)), None)
        if quadratic and re.search(r"\b(root|zero)\b", text):
            return Problem("quadratic", digits(numbers(text)), lambda: _larger_root(_parse(quadratic)))
        return None
    left, right = found.groups()
    if left.strip() == "y" and "x" in right:
        left, right = right, "0"
    polynomial = _parse(left)
    for degree, coefficient in _parse(right).items():
        polynomial[degree] -= coefficient
    size = digits(numbers(re.sub(r"[a-z]", " ", found.group())))
    if polynomial.get(2):
        return Problem("quadratic", size, lambda: _larger_root(polynomial))
    kind = "two_sided" if _letters(left) and _letters(right) else "linear"
    return Problem(kind, size, lambda: _linear_root(polynomial))


def _sequence(text: str) -> Problem | None:
    if not re.search(r"comes next|\bsequence\b|\bfollows\b|progression", text.lower()):
        return None
    values = numbers(text)
    if len(values) < 3:
        return None
    return Problem("sequence", len(values), lambda: _next(values))


def _next(values: list[Fraction]) -> str:
    steps = {b - a for a, b in pairwise(values)}
    if len(steps) == 1:
        return show(values[-1] + steps.pop())
    ratios = {b / a for a, b in pairwise(values)}
    if len(ratios) == 1:
        return show(values[-1] * ratios.pop())
    raise ValueError("no rule found")


def read(text: str) -> Problem | None:
    """The algebra problem in the text, or `None`."""
    for reader in (_system, _value, _equation, _riddle, _sequence):
        if (problem := reader(text)) is not None:
            return problem
    return None
