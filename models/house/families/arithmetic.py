"""Arithmetic, from two-digit sums to nine-digit products. Results are whole numbers."""

from __future__ import annotations

from random import Random

from models.house.families.phrasing import Draw, Kind, integer, number


def _digits(rng: Random) -> int:
    return rng.choice((1, 2, 2, 3, 4, 5, 6, 7, 9))


def _sum(rng: Random) -> Draw:
    digits = _digits(rng)
    a, b = integer(rng, digits), integer(rng, digits)
    return number(a + b, a=a, b=b)


def _difference(rng: Random) -> Draw:
    digits = _digits(rng)
    b, a = sorted((integer(rng, digits), integer(rng, digits + 1)))
    return number(a - b, a=a, b=b)


def _product(rng: Random) -> Draw:
    digits = _digits(rng)
    a, b = integer(rng, digits), integer(rng, max(1, digits - rng.randint(0, 2)))
    return number(a * b, a=a, b=b)


def _quotient(rng: Random) -> Draw:
    digits = _digits(rng)
    b, result = integer(rng, max(1, digits // 2)), integer(rng, max(1, digits - digits // 2))
    return number(result, a=b * result, b=b)


def _remainder(rng: Random) -> Draw:
    digits = rng.choice((2, 3, 4, 5, 6))
    a, b = integer(rng, digits), integer(rng, max(1, digits // 2))
    return number(a % b, a=a, b=b)


def _power(rng: Random) -> Draw:
    a, b = integer(rng, rng.choice((1, 2, 2, 3, 4))), rng.choice((2, 3, 4))
    name = {2: "squared", 3: "cubed", 4: "to the power of 4"}[b]
    return number(a**b, a=a, b=b, to_the=name)


def _percent(rng: Random) -> Draw:
    b, p = 20 * rng.randint(2, 600), 5 * rng.randint(1, 19)
    return number(p * b // 100, p=p, b=b)


def _expression(rng: Random) -> Draw:
    digits = rng.choice((1, 1, 2, 3, 4))
    a, b, c, d = (integer(rng, max(1, digits - rng.randint(0, 1))) for _ in range(4))
    text, value = rng.choice(
        (
            (f"{a} * ({b} + {c})", a * (b + c)),
            (f"{a} + {b} * {c}", a + b * c),
            (f"({a} + {b}) * ({c} + {d})", (a + b) * (c + d)),
            (f"{a} * {b} - {c}", a * b - c),
            (f"{a} + {b} - {c} + {d}", a + b - c + d),
            (f"{a} * {b} + {c} * {d}", a * b + c * d),
        )
    )
    return number(value, e=text)


KINDS = (
    Kind(
        "sum", 2, _sum,
        (
            "What is {a} + {b}?",
            "Add {a} and {b}.",
            "{a} people came on Saturday and {b} on Sunday. How many came altogether?",
            "I have {a} coins in one jar and {b} in another, how much is that combined?",
        ),
        (
            "Give me the sum of {a} and {b}.",
            "Suppose a farm grows {a} tulips and then plants {b} more. How large is the total afterwards?",
        ),
    ),
    Kind(
        "difference", 2, _difference,
        (
            "{a} - {b}",
            "Subtract {b} from {a}.",
            "How much bigger is {a} than {b}?",
            "A library owned {a} books and gave {b} of them away. How many are left?",
        ),
        (
            "Find the difference between {a} and {b}.",
            "Of {a} tickets, {b} have been sold so far. How many are still unsold?",
        ),
    ),
    Kind(
        "product", 3, _product,
        (
            "{a} times {b}, please",
            "Multiply {a} by {b}.",
            "{a} * {b} = ?",
            "There are {a} shelves with {b} books on each. How many books is that?",
        ),
        (
            "Work out the product of {a} and {b}.",
            "Every one of {a} drivers delivers {b} parcels. How many parcels do they bring?",
        ),
    ),
    Kind(
        "quotient", 2, _quotient,
        (
            "Divide {a} by {b}.",
            "{a} / {b} =",
            "Share {a} sweets equally among {b} children. How many does one child get?",
            "How often does {b} go into {a}?",
        ),
        (
            "What is the quotient of {a} and {b}?",
            "{a} eggs are split evenly over {b} trays; how many lie on one tray?",
        ),
    ),
    Kind(
        "remainder", 1.4, _remainder,
        (
            "What is the remainder when {a} is divided by {b}?",
            "{a} mod {b}",
            "After packing {a} apples into bags of {b}, how many are left over?",
            "Compute {a} modulo {b}, I only need the number.",
        ),
        (
            "When {b} divides {a}, which residue stays behind?",
            "{a} soldiers march in rows of {b}; how many leftovers walk at the end?",
        ),
    ),
    Kind(
        "power", 1, _power,
        (
            "What is {a} {to_the}?",
            "{a}^{b}",
            "Raise {a} to the power {b} and tell me the result.",
        ),
        ("Take {a} as the base and {b} as the exponent. What comes out?",),
    ),
    Kind(
        "percent", 1.2, _percent,
        (
            "What is {p}% of {b}?",
            "Work out {p} percent of {b}.",
            "A coat costs {b} dollars and is reduced by {p}%. How much money is taken off?",
            "How much is a {p}% tip on a bill of {b}?",
        ),
        ("Out of {b} visitors, {p} percent were children. How many children is that?",),
    ),
    Kind(
        "expression", 2, _expression,
        (
            "Evaluate {e}.",
            "{e}",
            "Calculate {e} step by step and state the result.",
            "My phone shows {e}, but the screen broke before the result. What is it?",
        ),
        (
            "Simplify {e} to a single number.",
            "The blackboard says {e} and the class is silent. Which value is right?",
        ),
    ),
)  # fmt: skip
