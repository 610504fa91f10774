"""Measures, temperatures, calendar dates and clock times."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

from models.house.families.phrasing import Draw, kind, number, word

_METRIC = (
    ("kilometres", "metres", 1000), ("metres", "centimetres", 100), ("centimetres", "millimetres", 10),
    ("kilograms", "grams", 1000), ("tonnes", "kilograms", 1000), ("litres", "millilitres", 1000),
    ("hours", "minutes", 60), ("minutes", "seconds", 60), ("days", "hours", 24), ("weeks", "days", 7),
)  # fmt: skip
_IMPERIAL = (
    ("miles", "kilometres", 1.609344), ("feet", "metres", 0.3048), ("inches", "centimetres", 2.54),
    ("pounds", "kilograms", 0.45359237), ("ounces", "grams", 28.349523125), ("gallons", "litres", 3.785411784),
    ("yards", "metres", 0.9144),
)  # fmt: skip
_CLOSE = {"relative": 0.005}


def _metric(rng: Random) -> Draw:
    big, small, factor = rng.choice(_METRIC)
    v = rng.choice((rng.randint(2, 99), rng.randint(100, 999), rng.randint(1000, 9999)))
    if rng.random() < 0.3:
        return number(v, v=v * factor, u=small, t=big)
    return number(v * factor, v=v, u=big, t=small)


def _imperial(rng: Random) -> Draw:
    unit, metric, factor = rng.choice(_IMPERIAL)
    v = rng.randint(2, 400)
    to, value = ((metric, unit), v * factor) if rng.random() < 0.6 else ((unit, metric), v / factor)
    return Draw({"v": str(v), "u": to[1], "t": to[0]}, round(value, 4), "number", _CLOSE)


def _temperature(rng: Random) -> Draw:
    if rng.random() < 0.5:
        c = 5 * rng.randint(-8, 60)
        return number(c * 9 // 5 + 32, v=c, u="Celsius", t="Fahrenheit")
    c = 5 * rng.randint(-4, 60)
    return number(c, v=c * 9 // 5 + 32, u="Fahrenheit", t="Celsius")


def _day(rng: Random) -> date:
    return date(1900, 1, 1) + timedelta(days=rng.randint(0, 54_000))


def spell(day: date) -> str:
    """A date in the most common form of the questions: 14 July 1989."""
    return f"{day.day} {day:%B %Y}"


def _written(rng: Random, day: date) -> str:
    return rng.choice((spell(day), f"{day:%B} {day.day}, {day.year}", day.isoformat()))


def _weekday(rng: Random) -> Draw:
    day = _day(rng)
    return word(f"{day:%A}", d=_written(rng, day))


def _later(rng: Random) -> Draw:
    day, n = _day(rng), rng.choice((rng.randint(2, 27), rng.randint(28, 400)))
    end = day + timedelta(days=n)
    accepted = [spell(end), f"{end:%B} {end.day}, {end.year}", end.isoformat()]
    return Draw({"d": _written(rng, day), "n": str(n)}, accepted)


def _between(rng: Random) -> Draw:
    day, n = _day(rng), rng.choice((rng.randint(2, 60), rng.randint(61, 3000)))
    return number(n, d=_written(rng, day), e=_written(rng, day + timedelta(days=n)))


def _clock(rng: Random) -> Draw:
    start, n = rng.randrange(24 * 60), rng.choice((rng.randint(5, 59), rng.randint(60, 600)))
    end = (start + n) % (24 * 60)
    return word(f"{end // 60:02d}:{end % 60:02d}", h=f"{start // 60:02d}:{start % 60:02d}", n=n)


KINDS = (
    kind("metric", _metric),
    kind("imperial", _imperial),
    kind("temperature", _temperature),
    kind("weekday", _weekday),
    kind("later", _later),
    kind("between", _between),
    kind("clock", _clock),
)
