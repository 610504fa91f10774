"""Mathematical expressions of bounded size, compared exactly by sympy or numerically at fixed points.

Every node carries its sympy expression and the expression's value, to 50 digits, at a few fixed points. A node whose
value or exact numbers would exceed the bounds is refused before it is built, so that an expression of bounded length
takes bounded time (sympy alone would try to compute 9^9^9).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import mpmath
import sympy

MAX_BITS = 4_000  # of an exact number
MAX_LOG = 2_000.0  # of a value's magnitude
MAX_TERMS = 400  # of an expression that is expanded
MAX_EXPONENT = 400  # of a number in scientific notation
POINTS, DIGITS = 4, 50

_MATH = mpmath.MPContext()  # the functions used here do not change its precision, so threads may share it
_MATH.dps = DIGITS


class Unreadable(Exception):
    """The text is not an expression of the grammar, or is too large."""


class Refused(Unreadable):
    """The expression can be parsed, but would take too much time or memory, or has no value."""


@dataclass(frozen=True)
class Node:
    """An expression. `values`: at each point, None where undefined; `terms`: an upper bound once expanded."""

    expr: Any
    values: tuple[Any, ...]
    terms: int = 1


_SAME_NAMES = (*("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "log", "sqrt"),)
FUNCTIONS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    name: (getattr(sympy, name), getattr(_MATH, name)) for name in _SAME_NAMES
} | {
    "ln": (sympy.log, _MATH.log),
    "abs": (sympy.Abs, abs),
    "arcsin": (sympy.asin, _MATH.asin),
    "arccos": (sympy.acos, _MATH.acos),
    "arctan": (sympy.atan, _MATH.atan),
}
RECIPROCALS = {"cot": "tan", "sec": "cos", "csc": "sin"}
CONSTANTS: dict[str, tuple[Any, Any]] = {
    "pi": (sympy.pi, +_MATH.pi),
    "e": (sympy.E, +_MATH.e),
    "i": (sympy.I, _MATH.mpc(0, 1)),
}


def constant(value: Any, number: Any) -> Node:
    """A constant, given exactly (`value`) and to 50 digits (`number`)."""
    return Node(value, (number,) * POINTS)


@lru_cache(maxsize=1024)
def symbol(name: str) -> Node:
    """A real symbol; its values come from a hash of its name: between 0.5 and 2.5, every second one negative."""
    values = []
    for point in range(POINTS):
        digest = int.from_bytes(hashlib.sha256(f"{name}/{point}".encode()).digest()[:20])
        values.append((_MATH.mpf(digest) / 2**159 + 0.5) * (-1) ** point)
    return Node(sympy.Symbol(name, real=True), tuple(values))


def _bits(expr: Any) -> int:
    """Bits of the longest exact number in the expression."""
    return max((max(abs(n.p).bit_length(), n.q.bit_length()) for n in expr.atoms(sympy.Rational)), default=0)


def _map(function: Callable[..., Any], *nodes: Node) -> tuple[Any, ...]:
    """The function's value at each point; None where it or an argument is undefined."""
    values = []
    for arguments in zip(*(node.values for node in nodes), strict=True):
        try:
            value = None if None in arguments else function(*arguments)
        except (ZeroDivisionError, ValueError):
            value = None
        if value is not None and value != 0 and not abs(_MATH.mag(value)) < MAX_LOG / 0.69:
            raise Refused("too large")
        values.append(value)
    return tuple(values)


def add(left: Node, right: Node) -> Node:
    """left + right."""
    return Node(left.expr + right.expr, _map(lambda a, b: a + b, left, right), left.terms + right.terms)


def negative(node: Node) -> Node:
    """-node."""
    return Node(-node.expr, _map(lambda a: -a, node), node.terms)


def multiply(left: Node, right: Node) -> Node:
    """left * right. Raises Unreadable where exact numbers would become too long."""
    if _bits(left.expr) + _bits(right.expr) > MAX_BITS:
        raise Refused("too large")
    return Node(left.expr * right.expr, _map(lambda a, b: a * b, left, right), left.terms * right.terms)


def _value_of_power(base: Any, exponent: Any) -> Any:
    if base == 0:
        return _MATH.mpf(0) if _MATH.re(exponent) > 0 else None
    if abs(exponent * _MATH.log(base)) > MAX_LOG:
        raise Refused("too large")
    return base**exponent


def power(base: Node, exponent: Node) -> Node:
    """base ** exponent (principal value). Raises Unreadable where it would be too large."""
    size = abs(exponent.expr) if exponent.expr.is_Rational else 1
    if size * max(1, _bits(base.expr)) > MAX_BITS:
        raise Refused("too large")
    terms = MAX_TERMS + 1
    if exponent.expr.is_Integer and exponent.expr > 0:
        terms = min(base.terms ** int(min(size, 10)) if size <= 10 or base.terms == 1 else terms, terms)
    values = _map(_value_of_power, base, exponent)
    return Node(base.expr**exponent.expr, values, terms)


def _safe(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def bounded(value: Any) -> Any:
        if abs(value) > MAX_LOG and function not in (_MATH.log, _MATH.sqrt, abs):
            raise Refused("too large")
        return function(value)

    return bounded


def apply(name: str, argument: Node) -> Node:
    """Apply one of FUNCTIONS or RECIPROCALS to an expression."""
    if name in RECIPROCALS:
        return reciprocal(apply(RECIPROCALS[name], argument))
    symbolic, numeric = FUNCTIONS[name]
    if name == "exp":
        return power(constant(*CONSTANTS["e"]), argument)
    values = _map(_safe(numeric), argument)  # before sympy evaluates it: this refuses what is too large
    return Node(symbolic(argument.expr), values, MAX_TERMS + 1)


def number(text: str | int) -> Node:
    """An integer or a decimal fraction, exactly."""
    mantissa, _, exponent = str(text).lower().partition("e")
    if abs(int(exponent or 0)) > MAX_EXPONENT:
        raise Refused("too large")
    exact = sympy.Rational(mantissa) * sympy.Rational(10) ** int(exponent or 0)
    return constant(exact, _MATH.mpf(int(exact.p)) / int(exact.q))


def reciprocal(node: Node) -> Node:
    """1 / node."""
    return power(node, number(-1))


def factorial(node: Node) -> Node:
    """node!, for an integer up to 170."""
    if not (node.expr.is_Integer and 0 <= node.expr <= 170):
        raise Unreadable("factorial of a value that is not an integer from 0 to 170")
    return number(int(sympy.factorial(node.expr)))


def equal(left: Node, right: Node) -> tuple[bool, str]:
    """Whether two expressions are the same function, and how that was determined.

    Exactly, where sympy's difference is a number or is zero once expanded; else by their values at POINTS points, which
    must agree to 30 of 50 digits.
    """
    difference = left.expr - right.expr
    if difference.is_Rational:
        return bool(difference == 0), "symbolically"
    pairs = [(a, b) for a, b in zip(left.values, right.values, strict=True) if a is not None and b is not None]
    if not pairs:
        return False, "undefined at every point"
    if any(abs(a - b) > _MATH.mpf(10) ** -30 * max(1, abs(a), abs(b)) for a, b in pairs):
        return False, "numerically"
    if left.terms + right.terms <= MAX_TERMS and sympy.expand(difference) == 0:
        return True, "symbolically"
    return True, f"at {len(pairs)} points"


def proportional(left: Node, right: Node) -> bool:
    """Whether one is a nonzero constant times the other, by their values at POINTS points."""
    pairs = [(a, b) for a, b in zip(left.values, right.values, strict=True) if a is not None and b is not None]
    if not pairs or pairs[0][0] == 0 or pairs[0][1] == 0:
        return False
    crossed = [(a * pairs[0][1], b * pairs[0][0]) for a, b in pairs]
    return len(pairs) > 1 and all(abs(a - b) <= _MATH.mpf(10) ** -30 * max(1, abs(a), abs(b)) for a, b in crossed)
