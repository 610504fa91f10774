"""Repair a Python file by generate and test: try single small changes until its doctests pass.

The changes undo common slips: a comparison, an operator, a constant off by one, min for max, two swapped arguments.
Everything is evaluated by walking syntax trees (`functions.py`). A fault that needs two changes in one function is not
repaired.
"""

from __future__ import annotations

import ast
import doctest
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from models.house.workers.functions import Module

_COMPARISONS = (ast.LtE, ast.GtE, ast.Lt, ast.Gt, ast.Eq, ast.NotEq)
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.Div)
_TWINS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_ENOUGH = 600  # changes tried per function
_BOUND = (ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp)  # need brackets inside another expression


class Example(NamedTuple):
    """A doctest: an expression and its expected value."""

    call: ast.expr
    want: object


def faulty(text: str) -> str | None:
    """The first function whose doctests fail; `None` if there is none or the file cannot be evaluated."""
    tree = _parsed(text)
    if tree is None:
        return None
    return next((name for name, examples in _examples(tree).items() if not _holds(tree, examples)), None)


@lru_cache(maxsize=256)
def mended(text: str, name: str) -> tuple[str, ...]:
    """The file with its function `name` repaired, then some changes that do not help.

    Raises ValueError if no change makes the doctests pass.
    """
    tree = _parsed(text)
    if tree is None or name not in (examples := _examples(tree)):
        raise ValueError(f"there is no function {name} with examples")
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    # Doctests that passed before must still pass.
    others = [example for key, group in examples.items() if key != name and _holds(tree, group) for example in group]
    useless: list[str] = []
    for number, changed in enumerate(_changes(text, function)):
        new = _parsed(changed)
        if number == _ENOUGH:
            break
        if new is None:
            continue
        if _holds(new, [*examples[name], *others]):
            return changed, *useless[:4]
        useless.append(changed)
    raise ValueError(f"no small change mends {name}")


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _examples(tree: ast.Module) -> dict[str, list[Example]]:
    """The doctests of each function that has some, in the order of the file."""
    found: dict[str, list[Example]] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node)):
            try:
                pairs = [(each.source, each.want) for each in doctest.DocTestParser().get_examples(text)]
                examples = [Example(ast.parse(a.strip(), mode="eval").body, ast.literal_eval(b)) for a, b in pairs]
            except (SyntaxError, ValueError):
                continue
            if examples:
                found[node.name] = examples
    return found


def _holds(tree: ast.Module, examples: list[Example]) -> bool:
    try:
        module = Module(tree)
        return all(_same(module.result(example.call), example.want) for example in examples)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _same(value: object, want: object) -> bool:
    """Whether two values are equal for a doctest: by what would be printed."""
    return repr(value) == repr(want)


def _changes(text: str, function: ast.FunctionDef) -> Iterator[str]:
    """Versions of the text with one expression of the function changed, the likeliest slips first."""
    pairs = ((node, parent) for parent in ast.walk(function) for node in ast.iter_child_nodes(parent))
    spots = [(node, parent) for node, parent in pairs if isinstance(node, ast.expr)]
    for kind in (_comparisons, _operators, _constants, _order, _by_one):
        for node, parent in spots:
            for new in kind(node, function):
                source = ast.unparse(new)
                bracketed = isinstance(new, _BOUND) and isinstance(parent, (*_BOUND, ast.UnaryOp))
                yield _spliced(text, node, f"({source})" if bracketed else source)


def _spliced(text: str, node: ast.expr, source: str) -> str:
    """The text with `source` in the node's place; its offsets count UTF-8 bytes."""
    lines = text.encode().split(b"\n")
    before = b"\n".join([*lines[: node.lineno - 1], lines[node.lineno - 1][: node.col_offset]])
    end = node.end_lineno or node.lineno
    after = b"\n".join([lines[end - 1][node.end_col_offset :], *lines[end:]])
    return (before + source.encode() + after).decode()


def _comparisons(node: ast.expr, function: ast.FunctionDef) -> Iterator[ast.expr]:
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], _COMPARISONS):
        for other in _COMPARISONS:
            if not isinstance(node.ops[0], other):
                yield ast.Compare(node.left, [other(), *node.ops[1:]], node.comparators)


def _operators(node: ast.expr, function: ast.FunctionDef) -> Iterator[ast.expr]:
    if isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, _OPERATORS):
        yield from (ast.BinOp(node.left, other(), node.right) for other in _OPERATORS if not isinstance(node.op, other))
    elif isinstance(node, ast.Name) and node.id in _TWINS:
        yield ast.Name(_TWINS[node.id])
    elif isinstance(node, ast.UnaryOp):
        yield node.operand


def _constants(node: ast.expr, function: ast.FunctionDef) -> Iterator[ast.expr]:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        value = node.value
        yield from map(ast.Constant, (not value,) if isinstance(value, bool) else (value + 1, value - 1))


def _order(node: ast.expr, function: ast.FunctionDef) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp):
        yield ast.BinOp(node.right, node.op, node.left)
    elif isinstance(node, ast.Call) and len(node.args) == 2:
        yield ast.Call(node.func, node.args[::-1], node.keywords)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield from (ast.Name(argument.arg) for argument in function.args.args if argument.arg != node.id)


def _by_one(node: ast.expr, function: ast.FunctionDef) -> Iterator[ast.expr]:
    if isinstance(node, ast.Name | ast.Call | ast.BinOp) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        yield ast.BinOp(node, ast.Add(), ast.Constant(1))
        yield ast.BinOp(node, ast.Sub(), ast.Constant(1))
