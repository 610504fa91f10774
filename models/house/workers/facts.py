"""Facts, looked up in the almanac by the names in the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from models.house import almanac
from models.house.workers.problem import Problem, numbers


def _any_of(names: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(r"\b(" + "|".join(re.escape(name) for name in longest_first) + r")\b", re.IGNORECASE)


_COUNTRY, _CAPITAL = _any_of(almanac.COUNTRY), _any_of(almanac.CAPITAL)
_ELEMENT, _WORK, _EVENT = _any_of(almanac.ELEMENTS), _any_of(almanac.WORK), _any_of(almanac.EVENT)
_YOUNG = _any_of(almanac.YOUNG)
_RANK = {country: rank for rank, country in enumerate(almanac.COUNTRIES)}
_WORK_RANK = {title: rank for rank, title in enumerate(almanac.WORK)}
_EVENT_RANK = {event: rank for rank, event in enumerate(almanac.EVENT)}


def _geography(text: str) -> Problem | None:
    if (city := _CAPITAL.search(text)) and re.search(r"\b(country|nation|state)\b", text, re.IGNORECASE):
        country = almanac.CAPITAL[city.group().lower()]
        return Problem("country", _RANK[country], lambda: country.name, "word")
    if (name := _COUNTRY.search(text)) is None:
        return None
    country = almanac.COUNTRY[name.group().lower()]
    if re.search(r"\bcapital\b|seat of government", text, re.IGNORECASE):
        return Problem("capital", _RANK[country], lambda: country.capital, "word")
    if re.search(r"\b(continent|landmass)\b", text, re.IGNORECASE):
        return Problem("continent", _RANK[country], lambda: country.continent, "word")
    return None


def _chemistry(text: str) -> Problem | None:
    if found := _ELEMENT.search(text):
        name = found.group().lower()
        rank = almanac.ATOMIC_NUMBER[name]
        if re.search(r"atomic number|\bprotons?\b|\bnumber\b.*periodic", text, re.IGNORECASE):
            return Problem("atomic_number", rank, lambda: str(rank))
        if re.search(r"\b(symbol|abbreviat\w+|letters stand|denotes?|formula)\b", text, re.IGNORECASE):
            return Problem("symbol", rank, lambda: almanac.SYMBOL[name], "word")
        return None
    number = int(values[0]) if len(values := numbers(text)) == 1 else 0
    if 1 <= number <= len(almanac.ELEMENTS) and re.search(r"\belement\b", text, re.IGNORECASE):
        return Problem("element", number, lambda: almanac.ELEMENTS[number - 1], "word")
    return None


def _books(text: str) -> Problem | None:
    if re.search(r"\b(wrote|authors?|writer|pen|written|poet|novelist)\b", text, re.IGNORECASE) and (
        found := _WORK.search(text)
    ):
        title = found.group().lower()
        return Problem("author", _WORK_RANK[title], lambda: almanac.WORK[title], "word")
    return None


def _history(text: str) -> Problem | None:
    if re.search(r"\b(year|when|date)\b", text, re.IGNORECASE) and (found := _EVENT.search(text)):
        event = found.group().lower()
        return Problem("year", _EVENT_RANK[event], lambda: str(almanac.EVENT[event]))
    return None


def _planets(text: str) -> Problem | None:
    if "planet" in text.lower() and len(values := numbers(text)) == 1 and 1 <= (place := int(values[0])) <= 8:
        return Problem("planet", place, lambda: almanac.PLANETS[place - 1], "word")
    return None


def _animals(text: str) -> Problem | None:
    if re.search(r"\b(young|baby|grown up|offspring)\b", text, re.IGNORECASE) and (found := _YOUNG.search(text)):
        return Problem("young", 1, lambda: almanac.YOUNG[found.group().lower()], "word")
    return None


_SHELVES: tuple[Callable[[str], Problem | None], ...] = (_geography, _chemistry, _books, _history, _planets, _animals)


def names_something(text: str) -> bool:
    """Whether the text contains a name from the almanac."""
    return any(names.search(text) for names in (_COUNTRY, _CAPITAL, _ELEMENT, _WORK, _EVENT, _YOUNG))


def read(text: str) -> Problem | None:
    """The fact that the text asks for, or `None`."""
    return next((problem for shelf in _SHELVES if (problem := shelf(text)) is not None), None)
