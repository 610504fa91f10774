"""Equations in one or two unknowns, polynomials, sequences. Every result is a whole number."""

from __future__ import annotations

from random import Random

from models.house.families.phrasing import Draw, kind, number

_SIZES = (9, 9, 20, 60, 400)


def _term(coefficient: int, variable: str) -> str:
    return variable if coefficient == 1 else f"{coefficient}{variable}"


def _signed(value: int) -> str:
    return f"+ {value}" if value >= 0 else f"- {-value}"


def polynomial(a: int, b: int, c: int) -> str:
    """a x^2 + b x + c as usually written, without zero terms."""
    parts = [_term(a, "x^2")]
    if b:
        parts.append(f"{'+' if b > 0 else '-'} {_term(abs(b), 'x')}")
    if c:
        parts.append(_signed(c))
    return " ".join(parts)


def _linear(rng: Random) -> Draw:
    size = rng.choice(_SIZES)
    a, x, b = rng.randint(2, size), rng.randint(2, size), rng.randint(-size, size) or 1
    v = rng.choice("xynt")
    return number(x, eq=f"{_term(a, v)} {_signed(b)} = {a * x + b}", v=v)


def _two_sided(rng: Random) -> Draw:
    size = rng.choice(_SIZES)
    a, c = rng.sample(range(1, size + 2), 2)
    x, b = rng.randint(1, size), rng.randint(1, size)
    v = rng.choice("xynt")
    return number(x, eq=f"{_term(a, v)} {_signed(b)} = {_term(c, v)} {_signed((a - c) * x + b)}", v=v)


def _riddle(rng: Random) -> Draw:
    size = rng.choice(_SIZES)
    a, x, b = rng.randint(2, size), rng.randint(2, size), rng.randint(1, size)
    return number(x, a=a, b=b, c=a * x + b)


def _system(rng: Random) -> Draw:
    size = rng.choice((20, 90, 900, 9000))
    y, x = sorted(rng.sample(range(2, size), 2))
    return number(x, s=x + y, d=x - y)


def _quadratic(rng: Random) -> Draw:
    size = rng.choice((6, 12, 40))
    small, large = sorted(rng.sample(range(-size, size + 1), 2))
    return number(large, p=polynomial(1, -(small + large), small * large))


def _value(rng: Random) -> Draw:
    size = rng.choice((5, 9, 30))
    a, b, c, n = (rng.randint(1, size) for _ in range(4))
    c = rng.choice((c, -c))
    return number(a * n * n + b * n + c, p=polynomial(a, b, c), n=n)


def _sequence(rng: Random) -> Draw:
    start, step = rng.randint(1, 60), rng.randint(2, 25)
    if rng.random() < 0.3:
        factor = rng.choice((2, 3))
        terms = [start * factor**i for i in range(5)]
    else:
        terms = [start + step * i for i in range(5)]
    return number(terms[-1], l=", ".join(map(str, terms[:-1])))


KINDS = (
    kind("linear", _linear),
    kind("two_sided", _two_sided),
    kind("riddle", _riddle),
    kind("system", _system),
    kind("quadratic", _quadratic),
    kind("value", _value),
    kind("sequence", _sequence),
)
