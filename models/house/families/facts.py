"""Questions about facts in the almanac: geography, chemistry, books, history, animals."""

from __future__ import annotations

from random import Random

from models.house import almanac
from models.house.families.phrasing import Draw, Kind, number, word


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
    Kind(
        "capital", 2.5, _capital,
        (
            "What is the capital of {x}?",
            "Name the capital city of {x}.",
            "I am planning a trip to {x}. What is its capital called?",
            "{x}: capital?",
        ),
        ("Where would I find the seat of government of {x}?", "What's {x}'s capital city called these days?"),
    ),
    Kind(
        "country", 1.5, _country_of,
        (
            "{x} is the capital of which country?",
            "Which country has {x} as its capital?",
            "A postcard from {x} arrived. Which country was it sent from?",
        ),
        ("Name the nation that is governed from {x}.",),
    ),
    Kind(
        "continent", 1.5, _continent,
        (
            "On which continent is {x}?",
            "Tell me the continent where {x} lies.",
            "Which continent does {x} belong to, according to geographers?",
        ),
        ("{x} is part of what landmass?",),
    ),
    Kind(
        "symbol", 1, _symbol,
        (
            "What is the chemical symbol of {x}?",
            "Which letters stand for {x} in the periodic table?",
            "How is {x} abbreviated in chemistry?",
        ),
        ("In a formula, how would a chemist denote {x}?",),
    ),
    Kind(
        "atomic_number", 1.2, _atomic_number,
        (
            "What is the atomic number of {x}?",
            "How many protons does an atom of {x} have?",
            "Which number does {x} carry in the periodic table?",
        ),
        ("Count the protons in a nucleus of {x}.",),
    ),
    Kind(
        "element", 1, _element,
        (
            "Which element has the atomic number {n}?",
            "Name the element with {n} protons.",
            "Element number {n} in the periodic table is called what?",
        ),
        ("An atom with {n} protons in its nucleus belongs to which element?",),
    ),
    Kind(
        "author", 1.2, _author,
        (
            "Who wrote {x}?",
            "Who is the author of {x}?",
            "My book club reads {x} next. Name the writer, please.",
        ),
        ("From whose pen does {x} come?",),
    ),
    Kind(
        "year", 1.5, _year,
        (
            "In which year was it that {x}?",
            "Give the year in which {x}.",
            "When was it that {x}? The year is enough.",
        ),
        ("Put a date on this, four digits will do: {x}.",),
    ),
    Kind(
        "planet", 0.2, _planet,
        (
            "Which planet is number {n} from the Sun?",
            "Counting from the Sun, what is planet number {n} called?",
        ),
        ("If I travel outward from the Sun, which planet do I meet as number {n}?",),
    ),
    Kind(
        "young", 1, _young,
        (
            "What do you call a young {x}?",
            "What is the baby of a {x} called?",
            "My daughter asks for the word for a {x} that is not grown up yet.",
        ),
        ("Which name does the offspring of a {x} have?",),
    ),
)  # fmt: skip
