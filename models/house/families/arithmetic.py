"""Arithmetic, from two-digit sums to nine-digit products. Results are whole numbers."""

from __future__ import annotations

from random import Random

from models.house.families.phrasing import Draw, integer, kind, number


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
    kind("sum", _sum),
    kind("difference", _difference),
    kind("product", _product),
    kind("quotient", _quotient),
    kind("remainder", _remainder),
    kind("power", _power),
    kind("percent", _percent),
    kind("expression", _expression),
)
