"""Code: LiveCodeBench, HumanEval+, MBPP+ for the grader `code`, BigCodeBench for the grader `command`.

The tests are those of the dataset, as data: nothing of a dataset is run while it is read. What the graders cannot take
is left out and counted (a result that is no JSON value, a test that is more than a comparison).
"""

from __future__ import annotations

import ast
import base64
import binascii
import io
import json
import math
import pickle
import re
import sys
import zlib
from collections.abc import Iterator
from typing import Any

from models.grading.benchmarks.row import LeftOut, Made, Row
from models.grading.repository import brief

_MAX_BYTES = 64 * 2**20  # of a problem's unpacked tests
_FENCE = "Reply with the whole code in one ```python block."
_LITERALS = ("inputs", "results")


def livecodebench(row: Row) -> Made:
    """Public and private tests of LiveCodeBench: programs that read stdin, or calls of a method. The method is asked
    for as a plain function of its name, which is what the grader calls."""
    cases = [*_cases(row.text("public")), *_cases(row.text("private"))]
    kinds = {case.get("testtype") for case in cases}
    if not cases or len(kinds) > 1:
        raise LeftOut("whose tests are of two kinds")
    question = row.text("question")
    if kinds == {"stdin"}:
        tests: list[dict[str, Any]] = [{"stdin": case["input"], "stdout": case["output"]} for case in cases]
        said = f"{question}\n\nWrite a Python program that reads stdin and prints the answer. {_FENCE}"
        return Made(said, "code", options={"tests": tests})
    entry = _json(row.text("metadata")).get("func_name")
    if not isinstance(entry, str) or not entry.isidentifier():
        raise LeftOut("whose function has no name")
    tests = [
        {"args": [_json(line) for line in case["input"].split("\n") if line.strip()], "expected": _json(case["output"])}
        for case in cases
    ]
    starter = row.value("starter") or ""
    said = f"{question}\n\n```python\n{starter.rstrip()}\n```\n\nWrite it as a function `{entry}` outside of any class"
    return Made(f"{said}, without `self`. {_FENCE}", "code", options={"entry": entry, "tests": tests})


def _cases(text: str) -> list[dict[str, Any]]:
    """A list of cases as JSON, or as LiveCodeBench packs it: base64 of zlib of a pickled text."""
    if not text.startswith("["):
        try:
            unpacked = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), _MAX_BYTES)
            text = _TextOnly(io.BytesIO(unpacked)).load()
        except (binascii.Error, zlib.error, pickle.UnpicklingError, EOFError, ValueError, IndexError) as error:
            raise LeftOut("whose private tests cannot be unpacked") from error
    cases = _json(text)
    if not isinstance(cases, list) or not all(
        isinstance(case, dict) and isinstance(case.get("input"), str) and isinstance(case.get("output"), str)
        for case in cases
    ):
        raise LeftOut("whose tests have no input and output")
    return cases


class _TextOnly(pickle.Unpickler):
    """Reads a pickle of plain values; one that names a class or function is refused before anything is made of it."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"names {module}.{name}")


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise LeftOut("whose tests are not JSON") from None


def evalplus(row: Row) -> Made:
    """HumanEval+ and MBPP+: lists `inputs` and `results` in the source of the test, which is parsed and never run."""
    source = row.text("test")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise LeftOut("whose test cannot be parsed") from None
    lists = dict(_assigned(tree))
    if not all(isinstance(lists.get(name), list) for name in _LITERALS) or not lists["inputs"]:
        raise LeftOut("whose results are computed by its test")
    if len(lists["inputs"]) != len(lists["results"]):
        raise LeftOut("whose inputs and results do not match")
    name, tolerance = _compared(tree)
    if tolerance:
        raise LeftOut("that allow an absolute error, which the grader `code` does not")
    entry = row.value("entry") or name
    if not isinstance(entry, str) or not entry.isidentifier():
        raise LeftOut("whose test calls no function by name")
    tests = [
        {"args": [_plain(argument, tuples=False) for argument in given], "expected": _plain(result)}
        for given, result in zip(lists["inputs"], lists["results"], strict=True)
        if isinstance(given, list | tuple)
    ]
    listed = row.value("examples")
    examples = "\n".join(listed) if isinstance(listed, list) else ""
    shown = f"\n\nYour function `{entry}` has to pass:\n\n{examples}" if examples else ""
    return Made(f"{row.text('question')}{shown}\n\n{_FENCE}", "code", options={"entry": entry, "tests": tests})


def _assigned(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """The literals that are assigned to `inputs` and `results` anywhere in the test."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in _LITERALS:
            try:
                yield node.targets[0].id, ast.literal_eval(node.value)
            except (ValueError, TypeError, MemoryError, RecursionError):
                yield node.targets[0].id, None


def _compared(tree: ast.Module) -> tuple[str | None, bool]:
    """The function that `assertion(f(*inp), exp, atol)` calls, and whether it allows more than rounding."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "assertion" and node.args:
            called, last = node.args[0], node.args[-1]
            name = called.func.id if isinstance(called, ast.Call) and isinstance(called.func, ast.Name) else None
            allowed = last.value if isinstance(last, ast.Constant) else 0
            return name, isinstance(allowed, int | float) and allowed > 1e-9
    return None, False


def _plain(value: Any, *, tuples: bool = True) -> Any:
    """A literal as the sandbox gives it back: tuples are lists. `tuples`: whether there may be any; an argument would
    reach the function as a list. Raises LeftOut for what is no JSON value."""
    if isinstance(value, list) or (tuples and isinstance(value, tuple)):
        return [_plain(each, tuples=tuples) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(each, tuples=tuples) for key, each in value.items()}
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise LeftOut("whose arguments or results are no JSON values")


def bigcodebench(row: Row) -> Made:
    """BigCodeBench: unit tests, run by the grader `command` on a file that the reply writes. Only problems that need
    the standard library alone: the workshop has no other."""
    try:
        libraries = ast.literal_eval(row.text("libraries"))
    except (ValueError, SyntaxError):
        raise LeftOut("whose libraries are no list") from None
    if not all(re.split(r"\W", str(each))[0] in sys.stdlib_module_names for each in libraries):
        raise LeftOut("that need libraries beside Python's own")
    entry, files = row.text("entry"), {"solution.py": row.text("starter") + "\n"}
    hidden = f"from solution import *\nfrom solution import {entry}\n\n{row.text('test')}\n"
    options = {
        "files": files,
        "command": ["python3", "-m", "unittest", "test_solution"],
        "hidden": {"test_solution.py": hidden},
        "prints": r"(?m)^OK",
        "editable": ["solution.py"],
    }
    return Made(brief(row.text("question"), files, ""), "command", options=options)
