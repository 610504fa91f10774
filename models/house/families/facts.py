"""Questions about facts in the almanac: geography, chemistry, books, history, animals."""

from __future__ import annotations

from random import Random

from models.house import almanac
from models.house.families.phrasing import Draw, kind, number, word


def _country(rng: Random) -> almanac.Country:
    return rng.choice(almanac.COUNTRIES)


def _capital(rng: Random) -> Draw:
    country = _country(rng)
    return word(country.capital, x=country.name)


def _country_of(rng: Random) -> Draw:
    country = _country(rng)
    return word(country.name, x=country.capital)


def _continent(rng: Random) -> Draw:
    country = _country(rng)
    return word(country.continent, x=country.name)


def _symbol(rng: Random) -> Draw:
    name = rng.choice(almanac.ELEMENTS)
    return word(almanac.SYMBOL[name], x=name)


def _atomic_number(rng: Random) -> Draw:
    name = rng.choice(almanac.ELEMENTS)
    return number(almanac.ATOMIC_NUMBER[name], x=name)


def _element(rng: Random) -> Draw:
    name = rng.choice(almanac.ELEMENTS)
    return word(name, n=almanac.ATOMIC_NUMBER[name])


def _author(rng: Random) -> Draw:
    title = rng.choice(tuple(almanac.WORKS))
    return word(almanac.WORKS[title], x=title)


def _year(rng: Random) -> Draw:
    event = rng.choice(tuple(almanac.EVENTS))
    return number(almanac.EVENTS[event], x=event)


def _planet(rng: Random) -> Draw:
    place = rng.randint(1, 8)
    return word(almanac.PLANETS[place - 1], n=place)


def _young(rng: Random) -> Draw:
    animal = rng.choice(tuple(almanac.YOUNG))
    return word(almanac.YOUNG[animal], x=animal)


KINDS = (
    kind("capital", _capital),
    kind("country", _country_of),
    kind("continent", _continent),
    kind("symbol", _symbol),
    kind("atomic_number", _atomic_number),
    kind("element", _element),
    kind("author", _author),
    kind("year", _year),
    kind("planet", _planet),
    kind("young", _young),
)
