"""Arithmetic, read from formulas or from words, and computed exactly."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from functools import partial

from models.house.workers.problem import Problem, digits, numbers, show

_FORMULA = re.compile(r"[(\-]*\d[\d.]*(?:\s*\)*\s*(?:\*\*|[-+*/^×÷x])\s*[(\-]*\d[\d.]*)+\)*")
_KIND_OF = {ast.Add: "sum", ast.Sub: "difference", ast.Mult: "product", ast.Div: "quotient", ast.Pow: "power"}
_MAX_BITS = 10_000  # of a power's result: a short text must not cause a long computation

Operation = Callable[[Fraction, Fraction], Fraction]


def _power(a: Fraction, b: Fraction) -> Fraction:
    bits = a.numerator.bit_length() + a.denominator.bit_length()
    if b.denominator != 1 or not 0 <= b * bits <= _MAX_BITS:
        raise ValueError("exponent out of range")
    return a ** int(b)


_OPERATIONS: dict[type[ast.operator], Operation] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: _power,
}


def evaluate(node: ast.expr) -> Fraction:
    """The exact value of a formula's syntax tree. Raises ValueError for anything but + - * / ** and numbers."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return Fraction(str(value))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -evaluate(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](evaluate(left), evaluate(right))
    raise ValueError("not arithmetic")


def parse(formula: str) -> ast.expr:
    """The syntax tree of a formula as people write it (×, ÷, x, ^). Raises SyntaxError."""
    python = re.sub(r"[×x]", "*", formula).replace("÷", "/").replace("^", "**")
    return ast.parse(python.strip().rstrip("."), mode="eval").body


def _formula(text: str) -> Problem | None:
    found = _FORMULA.search(text)
    if found is None:
        return None
    try:
        tree = parse(found.group())
    except (SyntaxError, ValueError):
        return None
    single = (
        isinstance(tree, ast.BinOp) and isinstance(tree.left, ast.Constant) and isinstance(tree.right, ast.Constant)
    )
    kind = _KIND_OF.get(type(tree.op), "expression") if single and isinstance(tree, ast.BinOp) else "expression"
    return Problem(kind, digits(numbers(found.group())), lambda: show(evaluate(tree)))


def _subtract(a: Fraction, b: Fraction, text: str) -> Fraction:
    return b - a if re.search(r"\bfrom\b", text) else a - b


def _divide(a: Fraction, b: Fraction, text: str) -> Fraction:
    return b / a if re.search(r"\b(goes|go|fits|fit) into\b|\d divides\b", text) else a / b


def _remainder(a: Fraction, b: Fraction, text: str) -> Fraction:
    return b % a if re.search(r"\d divides\b", text) else a % b


def _raise(a: Fraction, b: Fraction, text: str) -> Fraction:
    return _power(a, b)


_WORDED: tuple[tuple[str, re.Pattern[str], Callable[[Fraction, Fraction, str], Fraction]], ...] = (
    ("remainder", re.compile(r"\b(remainder|mod|modulo|left ?overs?|residue)\b"), _remainder),
    ("percent", re.compile(r"%|\bper ?cent"), lambda a, b, _: a * b / 100),
    ("power", re.compile(r"\b(power|exponent)\b"), _raise),
    (
        "quotient",
        re.compile(r"\b(divided?|divides|quotient|shared?|split|equally|evenly|go into|goes into)\b"),
        _divide,
    ),
    (
        "difference",
        re.compile(r"\b(subtract|minus|difference|away|left|remain|bigger|larger|unsold|fewer|less|taken?)\b"),
        _subtract,
    ),
    ("product", re.compile(r"\b(times|multipl\w+|product|each|every|per)\b"), lambda a, b, _: a * b),
    (
        "sum",
        re.compile(r"\b(add|added|adding|increased?|sum|plus|altogether|combined|total|more|together)\b"),
        lambda a, b, _: a + b,
    ),
)


def read(text: str) -> Problem | None:
    """The arithmetic problem in the text, or `None`."""
    if (formula := _formula(text)) is not None:
        return formula
    lowered, values = text.lower(), numbers(text)
    if len(values) == 1 and (named := re.search(r"squared|cubed|\bsquare of|\bcube of", lowered)):
        exponent = 2 if "squar" in named.group() else 3
        return Problem("power", digits(values), lambda: show(values[0] ** exponent))
    if len(values) < 2:
        return None
    for kind, cue, operation in _WORDED:
        if cue.search(lowered):
            return Problem(kind, digits(values), partial(_worded, kind, operation, values, lowered))
    return None


def _worded(
    kind: str, operation: Callable[[Fraction, Fraction, str], Fraction], values: list[Fraction], text: str
) -> str:
    if kind == "sum":
        return show(sum(values, Fraction(0)))
    return show(operation(values[0], values[1], text))
