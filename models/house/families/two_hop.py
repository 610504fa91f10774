"""Two-hop questions: the first result is the input of the second step. No worker does both steps in one reply."""

from __future__ import annotations

import calendar
from datetime import date
from random import Random

from models.house import almanac, vocabulary
from models.house.families.phrasing import Draw, kind, number, word

_CAPITALS = [c for c in almanac.COUNTRIES if c.capital.isalpha() and c.name.isalpha()]
_RECENT = [event for event, year in almanac.EVENTS.items() if year > 1752]
_MONTHS = tuple(calendar.month_name)[1:]


def _capital(rng: Random) -> almanac.Country:
    return rng.choice(_CAPITALS)


def _capital_length(rng: Random) -> Draw:
    country = _capital(rng)
    return number(len(country.capital), x=country.name)


def _capital_reverse(rng: Random) -> Draw:
    country = _capital(rng)
    return word(country.capital[::-1].lower(), x=country.name)


def _element_product(rng: Random) -> Draw:
    name, n = rng.choice(almanac.ELEMENTS), rng.randint(1000, 999_999)
    return number(almanac.ATOMIC_NUMBER[name] * n, x=name, n=n)


def _year_weekday(rng: Random) -> Draw:
    event, month, day = rng.choice(_RECENT), rng.randint(1, 12), rng.randint(1, 28)
    weekday = f"{date(almanac.EVENTS[event], month, day):%A}"
    return word(weekday, x=event, d=f"{day} {_MONTHS[month - 1]}")


def _year_sum(rng: Random) -> Draw:
    event, n = rng.choice(tuple(almanac.EVENTS)), rng.randint(10_000, 999_999)
    return number(almanac.EVENTS[event] + n, x=event, n=n)


def _letters_product(rng: Random) -> Draw:
    w, n = rng.choice(vocabulary.SHORT), rng.randint(10_000, 999_999)
    return number(len(w) * n, w=w, n=n)


def _reverse_capital(rng: Random) -> Draw:
    country = _capital(rng)
    return word(country.capital, s=country.name.lower()[::-1])


def _solution_minutes(rng: Random) -> Draw:
    a, x, b = rng.randint(11, 99), rng.randint(11, 99), rng.randint(11, 400)
    return number(60 * x, eq=f"{a}x + {b} = {a * x + b}")


def _largest_fahrenheit(rng: Random) -> Draw:
    values = rng.sample(range(5, 300, 5), rng.randint(5, 9))
    return number(max(values) * 9 // 5 + 32, l=", ".join(map(str, values)))


def _largest_kilometres(rng: Random) -> Draw:
    values = rng.sample(range(10, 999), rng.randint(5, 9))
    distance = round(max(values) * 1.609344, 4)
    return Draw({"l": ", ".join(map(str, values))}, distance, "number", {"relative": 0.005})


def _sum_element(rng: Random) -> Draw:
    place = rng.randint(5, len(almanac.ELEMENTS))
    a = rng.randint(2, place - 2)
    return word(almanac.ELEMENTS[place - 1], a=a, b=place - a)


KINDS = (
    kind("capital_length", _capital_length),
    kind("capital_reverse", _capital_reverse),
    kind("element_product", _element_product),
    kind("year_weekday", _year_weekday),
    kind("year_sum", _year_sum),
    kind("letters_product", _letters_product),
    kind("reverse_capital", _reverse_capital),
    kind("solution_minutes", _solution_minutes),
    kind("largest_fahrenheit", _largest_fahrenheit),
    kind("largest_kilometres", _largest_kilometres),
    kind("sum_element", _sum_element),
)
