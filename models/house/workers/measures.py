"""Quantities in units, and temperatures."""

from __future__ import annotations

import re
from fractions import Fraction

from models.house.workers.problem import NUMBER, Problem, digits, show

_METRIC = {
    "kilometre": ("length", "1000"), "km": ("length", "1000"), "metre": ("length", "1"), "m": ("length", "1"),
    "centimetre": ("length", "0.01"), "cm": ("length", "0.01"), "millimetre": ("length", "0.001"),
    "mm": ("length", "0.001"), "tonne": ("mass", "1000"), "kilogram": ("mass", "1"), "kg": ("mass", "1"),
    "gram": ("mass", "0.001"), "litre": ("volume", "1"), "millilitre": ("volume", "0.001"),
    "ml": ("volume", "0.001"), "second": ("time", "1"), "minute": ("time", "60"), "hour": ("time", "3600"),
    "day": ("time", "86400"), "week": ("time", "604800"),
}  # fmt: skip
_IMPERIAL = {
    "mile": ("length", "1609.344"), "foot": ("length", "0.3048"), "feet": ("length", "0.3048"),
    "inch": ("length", "0.0254"), "yard": ("length", "0.9144"), "pound": ("mass", "0.45359237"),
    "ounce": ("mass", "0.028349523125"), "gallon": ("volume", "3.785411784"),
}  # fmt: skip
_UNITS = {name: (dimension, Fraction(factor)) for name, (dimension, factor) in (_METRIC | _IMPERIAL).items()}
_NAME = r"(?:" + "|".join(sorted(_UNITS, key=len, reverse=True)) + r")(?:e?s)?"
_QUANTITY = re.compile(rf"({NUMBER})\s*(?:from |as )?({_NAME})\b", re.IGNORECASE)
_UNIT = re.compile(rf"\b({_NAME})\b", re.IGNORECASE)
_DEGREES = re.compile(rf"({NUMBER})\s*(?:from |as )?(?:degrees\s*)?°?\s*(celsius|fahrenheit|[CF]\b)", re.IGNORECASE)


def _unit(name: str) -> str:
    name = name.lower()
    if name in _UNITS:
        return name
    return name[:-2] if name.endswith("es") and name[:-2] in _UNITS else name[:-1]


def _american(text: str) -> str:
    return re.sub(r"(met|lit)er(s?)\b", r"\1re\2", text, flags=re.IGNORECASE)


def read(text: str) -> Problem | None:
    """The conversion problem in the text, or `None`."""
    if found := _DEGREES.search(text):
        value, celsius = Fraction(found.group(1)), found.group(2).lower().startswith("c")
        return Problem("temperature", digits([value]), lambda: _temperature(value, celsius))
    text = _american(text)
    if (given := _QUANTITY.search(text)) is None:
        return None
    source = _unit(given.group(2))
    others = [_unit(name) for name in _UNIT.findall(text.replace(given.group(), ""))]
    target = next((name for name in others if name != source and _UNITS[name][0] == _UNITS[source][0]), None)
    if target is None:
        return None
    value = Fraction(given.group(1))
    kind = "imperial" if {source, target} & set(_IMPERIAL) else "metric"
    return Problem(kind, digits([value]), lambda: show(value * _UNITS[source][1] / _UNITS[target][1]))


def _temperature(value: Fraction, celsius: bool) -> str:
    return show(value * 9 / 5 + 32 if celsius else (value - 32) * 5 / 9)
