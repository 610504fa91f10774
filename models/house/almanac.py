"""The almanac of `data/house/almanac.yaml`: the facts that `atlas` and others look up and that questions ask about.

Tables are ordered from well known to rarely asked, so that an entry's rank says how obscure it is.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from models.house.wordings import table


class Country(NamedTuple):
    name: str
    capital: str
    continent: str


class _Almanac(BaseModel):
    model_config = ConfigDict(extra="forbid")

    countries: dict[str, tuple[str, str]]
    elements: dict[str, str]
    planets: tuple[str, ...]
    works: dict[str, str]
    events: dict[str, int]
    young: dict[str, str]
    opposites: dict[str, str]


_read = table("almanac.yaml").parsed(_Almanac)

COUNTRIES = tuple(Country(name, *row) for name, row in _read.countries.items())
COUNTRY = {country.name.lower(): country for country in COUNTRIES}
CAPITAL = {country.capital.lower(): country for country in COUNTRIES}

SYMBOLS = tuple(_read.elements)
ELEMENTS = tuple(name.lower() for name in _read.elements.values())
"""Names in the order of their atomic numbers, from 1."""
ATOMIC_NUMBER = {name: number for number, name in enumerate(ELEMENTS, start=1)}
SYMBOL = dict(zip(ELEMENTS, SYMBOLS, strict=True))

PLANETS = _read.planets
"""In their order from the Sun."""

WORKS = _read.works
WORK = {title.lower(): author for title, author in WORKS.items()}
EVENTS = _read.events
EVENT = {event.lower(): year for event, year in EVENTS.items()}
YOUNG = _read.young
OPPOSITES = _read.opposites
OPPOSITE = OPPOSITES | {second: first for first, second in OPPOSITES.items()}
