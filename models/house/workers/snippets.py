"""Interpreter for small Python programs: it walks the syntax tree, and Python itself executes nothing.

It supports numbers, text, lists, arithmetic, comparisons, `if`, `for`, `while`, list comprehensions, slices and a few
functions. Anything else, or a program that takes too long, is a ValueError.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

from models.house.workers.problem import Form, Problem

_PROGRAM = re.compile(r"^(?:[a-z]\w* ?=[^=]|print\(|for \w+ in |while ).*", re.MULTILINE | re.DOTALL)
_FUEL = 5_000
_MAX_SIZE = 10_000  # of a number in bits, or of a text or list in items


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | list) else value.bit_length() if isinstance(value, int) else 64


def _add(a: Any, b: Any) -> Any:
    return a + b if _size(a) + _size(b) <= _MAX_SIZE else _refuse("so large a value")


def _multiply(a: Any, b: Any) -> Any:
    if isinstance(b, str | list):
        a, b = b, a
    size = len(a) * abs(b) if isinstance(a, str | list) else _size(a) + _size(b)
    return a * b if size <= _MAX_SIZE else _refuse("so large a value")


def _modulo(a: Any, b: Any) -> Any:
    return a % b if not isinstance(a, str) else _refuse("text formatting")


def _power(a: Any, b: Any) -> Any:
    return a**b if abs(b) * _size(a) <= _MAX_SIZE else _refuse("so large a power")


def _refuse(what: str) -> Any:
    raise ValueError(f"{what} is not known here")


BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: _add,
    ast.Sub: operator.sub,
    ast.Mult: _multiply,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: _modulo,
    ast.Pow: _power,
}
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": len,
    "sum": sum,
    "max": max,
    "min": min,
    "abs": abs,
    "sorted": sorted,
    "str": str,
    "int": int,
    "list": list,
    "range": lambda *bounds: list(range(*bounds)) if len(range(*bounds)) <= _MAX_SIZE else _refuse("range"),
}
_METHODS = {"upper", "lower", "append", "count", "index"}


class Interpreter:
    """Runs one program; `lines` is its output."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.lines: list[str] = []
        self._fuel = _FUEL

    def run(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self._step(statement)

    def refuel(self) -> None:
        """Reset the limit on the work of a program."""
        self._fuel = _FUEL

    def _burn(self) -> None:
        self._fuel -= 1
        if self._fuel < 0:
            raise ValueError("the program takes too long")

    def _step(self, node: ast.stmt) -> None:
        self._burn()
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.names[name] = self.value(value)
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value) if type(op) in BINARY:
                self.names[name] = BINARY[type(op)](self.names[name], self.value(value))
            case ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=arguments, keywords=[])):
                self.lines.append(" ".join(str(self.value(argument)) for argument in arguments))
            case ast.Expr(value=value):
                self.value(value)
            case ast.If(test=test, body=body, orelse=otherwise):
                self.run(body if self.value(test) else otherwise)
            case ast.For(target=ast.Name(id=name), iter=items, body=body):
                for item in self.value(items):
                    self.names[name] = item
                    self.run(body)
            case ast.While(test=test, body=body):
                while self.value(test):
                    self._burn()
                    self.run(body)
            case _:
                _refuse(type(node).__name__)

    def value(self, node: ast.expr | None) -> Any:
        self._burn()
        match node:
            case None:
                return None
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.List(elts=entries) | ast.Tuple(elts=entries):
                return [self.value(entry) for entry in entries]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
                return BINARY[type(op)](self.value(left), self.value(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.value(operand)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self.value(operand)
            case ast.BoolOp(op=ast.And(), values=values):
                return all(self.value(value) for value in values)
            case ast.BoolOp(values=values):
                return any(self.value(value) for value in values)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARE:
                return COMPARE[type(op)](self.value(left), self.value(right))
            case ast.Subscript(value=value, slice=ast.Slice(lower=lower, upper=upper, step=step)):
                return self.value(value)[self.value(lower) : self.value(upper) : self.value(step)]
            case ast.Subscript(value=value, slice=place):
                return self.value(value)[self.value(place)]
            case ast.ListComp(elt=entry, generators=[ast.comprehension(target=ast.Name(id=name)) as loop]):
                return self._comprehension(entry, name, loop)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=named) if name in _FUNCTIONS:
                options = {option.arg or "": self.value(option.value) for option in named}
                return _FUNCTIONS[name](*(self.value(argument) for argument in arguments), **options)
            case ast.Call(func=ast.Attribute(value=value, attr=name), args=arguments) if name in _METHODS:
                return getattr(self.value(value), name)(*(self.value(argument) for argument in arguments))
        return _refuse(type(node).__name__)

    def _comprehension(self, entry: ast.expr, name: str, loop: ast.comprehension) -> list[Any]:
        result = []
        for item in self.value(loop.iter):
            self.names[name] = item
            if all(self.value(test) for test in loop.ifs):
                result.append(self.value(entry))
        return result


def output_of(program: str) -> str:
    """The output of the program. Raises ValueError if it uses anything unsupported."""
    interpreter = Interpreter()
    try:
        interpreter.run(ast.parse(program).body)
    except (SyntaxError, TypeError, KeyError, IndexError, AttributeError, RecursionError, MemoryError) as error:
        raise ValueError(f"the program does not run: {error}") from None
    return "\n".join(interpreter.lines)


def read(text: str) -> Problem | None:
    """The program in the text if the text asks for its output, else `None`."""
    if "print(" not in text or (found := _PROGRAM.search(text)) is None:
        return None
    program = found.group()
    while program and not _parses(program):
        program = program.rpartition("\n")[0]
    if not program:
        return None
    form: Form = "word" if "[::-1]" in program else "number"
    return Problem("snippet", program.count("\n") + 1, lambda: output_of(program), form)


def _parses(program: str) -> bool:
    try:
        ast.parse(program)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True
