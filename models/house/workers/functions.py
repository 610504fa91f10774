"""Interpreter for small Python functions: `snippets.py` extended by functions.

It adds `def`, `return`, calls of functions in the text, unpacking, `break`, `continue`, conditional expressions,
chained comparisons and dicts. Anything else at module level is a ValueError.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from models.house.workers.snippets import BINARY, COMPARE, Interpreter

_DEPTH = 40
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "round": round,
    "tuple": tuple,
    "set": lambda *values: list(dict.fromkeys(*values)),
    "enumerate": lambda values, start=0: [[start + i, value] for i, value in enumerate(values)],
    "zip": lambda *values: [list(row) for row in zip(*values, strict=False)],
    "any": any,
    "all": all,
}


class _Return(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Module(Interpreter):
    """A module's constants and functions, which expressions may call; each evaluation has the fuel of one program."""

    def __init__(self, tree: ast.Module) -> None:
        super().__init__()
        self._functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self._depth = 0
        for node in tree.body:
            if isinstance(node, ast.Assign):
                self._step(node)
        self._globals = dict(self.names)

    def result(self, expression: ast.expr) -> Any:
        """The value of an expression. Raises ValueError if it cannot be evaluated here."""
        self.refuel()
        try:
            return self.value(expression)
        except ValueError:
            raise
        except (TypeError, LookupError, ArithmeticError, AttributeError, RecursionError, MemoryError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None

    def _step(self, node: ast.stmt) -> None:
        match node:
            case ast.Return(value=value):
                raise _Return(self.value(value))
            case ast.Pass() | ast.Expr(value=ast.Constant()):
                return
            case ast.Break():
                raise _Break
            case ast.Continue():
                raise _Continue
            case ast.Assign(targets=[ast.Tuple() as target], value=value):
                self._bind(target, self.value(value))
            case ast.Assign(targets=[ast.Subscript(value=held, slice=place)], value=value):
                self.value(held)[self.value(place)] = self.value(value)
            case ast.For(target=target, iter=items, body=body, orelse=[]):
                self._loop(((target, item) for item in self.value(items)), body)
            case ast.While(test=test, body=body, orelse=[]):
                self._loop(iter(lambda: (None, None) if self.value(test) else None, None), body)
            case _:
                super()._step(node)

    def _loop(self, turns: Any, body: list[ast.stmt]) -> None:
        for target, item in turns:
            self._burn()
            if target is not None:
                self._bind(target, item)
            try:
                self.run(body)
            except _Continue:
                continue
            except _Break:
                break

    def _bind(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = value
        elif isinstance(target, ast.Tuple):
            for part, item in zip(target.elts, value, strict=True):
                self._bind(part, item)
        else:
            raise ValueError(f"{type(target).__name__} is not known here")

    def value(self, node: ast.expr | None) -> Any:
        match node:
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=named) if name in self._functions:
                options = {option.arg or "": self.value(option.value) for option in named}
                return self._call(self._functions[name], [self.value(argument) for argument in arguments], options)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
                return _FUNCTIONS[name](*(self.value(argument) for argument in arguments))
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                return self.value(body if self.value(test) else otherwise)
            case ast.BoolOp(op=op, values=values):
                return self._either(values, isinstance(op, ast.Or))
            case ast.Compare(left=left, ops=ops, comparators=others) if len(ops) > 1:
                sides = [self.value(side) for side in (left, *others)]
                return all(COMPARE[type(op)](*pair) for op, pair in zip(ops, pairwise(sides), strict=True))
            case ast.Tuple(elts=entries):
                return tuple(self.value(entry) for entry in entries)
            case ast.Dict(keys=keys, values=values):
                return {self.value(key): self.value(value) for key, value in zip(keys, values, strict=True)}
            case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
                self._burn()
                return BINARY[type(op)](self.value(left), self.value(right))
        return super().value(node)

    def _either(self, values: list[ast.expr], stop_at: bool) -> Any:
        found: Any = None
        for value in values:
            if bool(found := self.value(value)) is stop_at:
                break
        return found

    def _call(self, function: ast.FunctionDef, arguments: list[Any], options: dict[str, Any]) -> Any:
        names = [argument.arg for argument in function.args.args]
        defaults = dict(zip(reversed(names), reversed(function.args.defaults), strict=False))
        given = dict(zip(names, arguments, strict=False)) | options
        if len(arguments) > len(names) or set(given) - set(names) or self._depth >= _DEPTH:
            raise ValueError(f"{function.name} cannot be called so")
        outer, self._depth = self.names, self._depth + 1
        local = {name: given[name] if name in given else self.value(defaults.get(name)) for name in names}
        self.names = {**self._globals, **local}
        try:
            self.run(function.body)
        except _Return as back:
            return back.value
        finally:
            self.names, self._depth = outer, self._depth - 1
        return None
