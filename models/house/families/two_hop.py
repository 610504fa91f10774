"""Two-hop questions: the first result is the input of the second step. No worker does both steps in one reply."""

from __future__ import annotations

import calendar
from datetime import date
from random import Random

from models.house import almanac, vocabulary
from models.house.families.phrasing import Draw, Kind, number, word

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
    Kind(
        "capital_length", 1, _capital_length,
        (
            "How many letters does the capital of {x} have?",
            "Count: how many letters are there in the name of the capital of {x}?",
            "Take the capital city of {x}; what is the length of its name?",
        ),
        ("I want to engrave the capital of {x} on a ring. How many letters will the engraver charge for?",),
    ),
    Kind(
        "capital_reverse", 1, _capital_reverse,
        (
            "Write the capital of {x} backwards.",
            "What do you get if you reverse the name of the capital of {x}?",
            "Spell the capital city of {x} from right to left.",
        ),
        ("On the far side of the glass door, the capital of {x} appears backwards. What do I read?",),
    ),
    Kind(
        "element_product", 1.4, _element_product,
        (
            "Multiply the atomic number of {x} by {n}.",
            "What is {n} times the atomic number of {x}?",
            "In this game the atomic number of {x} is my score, and it gets multiplied by {n}. How much is that?",
        ),
        ("Work out the product of {n} and the atomic number of {x}.",),
    ),
    Kind(
        "year_weekday", 1, _year_weekday,
        (
            "Which day of the week was {d} in the year in which {x}?",
            "On which weekday was {d} in the year when {x}?",
        ),
        ("I am curious about {d} in the year when {x}. Name the weekday.",),
    ),
    Kind(
        "year_sum", 1, _year_sum,
        (
            "Add {n} to the year in which {x}.",
            "What is the year when {x} plus {n}?",
            "Start with the year in which {x} and add {n}. Where do you end?",
        ),
        ("A clerk increased the year when {x} by adding {n} to it. What stands in the book?",),
    ),
    Kind(
        "letters_product", 1.2, _letters_product,
        (
            "Multiply the number of letters in '{w}' by {n}.",
            "What is the number of letters in '{w}' times {n}?",
            "Engraving costs {n} cents a letter. Multiply that by the number of letters in '{w}'.",
        ),
        ("Find the product of {n} and the number of letters in '{w}'.",),
    ),
    Kind(
        "reverse_capital", 1, _reverse_capital,
        (
            "What is the capital of the country whose name is the reverse of '{s}'?",
            "A country is hidden as the reverse of '{s}'. Name its capital.",
            "Decode the reverse of '{s}' and tell me the capital of that country.",
        ),
        ("The spy wrote '{s}'; turn to the reverse of '{s}'. What is the capital there?",),
    ),
    Kind(
        "solution_minutes", 1.2, _solution_minutes,
        (
            "Convert the solution of {eq} from hours to minutes.",
            "Take the solution of {eq} as hours. How many minutes is that?",
        ),
        ("A lecture takes the solution of {eq} as hours. State its duration in minutes.",),
    ),
    Kind(
        "largest_fahrenheit", 1, _largest_fahrenheit,
        (
            "Convert the largest of {l} from Celsius to Fahrenheit.",
            "Take the largest of {l} as degrees Celsius. What is it in Fahrenheit?",
        ),
        ("These were measured: {l}. Read the largest of {l} as Celsius and express it in Fahrenheit.",),
    ),
    Kind(
        "largest_kilometres", 1, _largest_kilometres,
        (
            "Convert the largest of {l} from miles to kilometres.",
            "Take the largest of {l} as miles. How many kilometres is that?",
        ),
        ("The rides differed. Read the largest of {l} as miles and state the kilometres.",),
    ),
    Kind(
        "sum_element", 1.2, _sum_element,
        (
            "Which element has the sum of {a} and {b} as its atomic number?",
            "Name the element whose number is the sum of {a} and {b}.",
            "How is the element called that has the sum of {a} and {b} protons?",
        ),
        ("Go to the sum of {a} and {b} in the periodic table. Which element sits there?",),
    ),
)  # fmt: skip
