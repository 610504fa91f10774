"""A request's body as JSON values. Every text in it can be kept by any database and read by any tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_core import from_json

from models.errors import BadInput

Step = str | int
NUL = re.compile("\0")
HALF = re.compile("[\ud800-\udfff]")
SHOWN = 100
"""Characters of a caller's own name that an error says again."""


def read_object(body: bytes) -> dict[str, Any]:
    """Raises BadInput for what is no JSON object, and for a text that holds U+0000 or half a surrogate pair.

    Two halves side by side, each in an escape of its own, are the character that they make.
    """
    try:
        data = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        _refuse_halves(body)
        raise BadInput(f"the body is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadInput("the body has to be a JSON object")
    if rb"\u0000" in body:
        _refuse(NUL, data, "may not hold the character U+0000")
    return data


def place(steps: Sequence[Step]) -> str:
    """`messages[3].content[0].type`"""
    names = (f"[{step}]" if isinstance(step, int) else f".{step[:SHOWN]}" for step in steps)
    return "".join(names).removeprefix(".")


def _refuse_halves(body: bytes) -> None:
    """Python's own reader takes them, and so can tell where they stand; ours is faster and does not."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return
    _refuse(HALF, data, "holds half of a surrogate pair, which is no character")


def _refuse(unfit: re.Pattern[str], data: Any, complaint: str) -> None:
    """Raises BadInput for the first text or name with a character that is unfit."""
    for steps, text in _texts(data):
        if unfit.search(text):
            field = unfit.sub("\ufffd", place(steps))
            raise BadInput(f"{field} {complaint}", field)


def _texts(data: Any) -> Iterator[tuple[tuple[Step, ...], str]]:
    """Every name and every text, with the steps that lead to it."""
    waiting: list[tuple[tuple[Step, ...], Any]] = [((), data)]
    while waiting:
        steps, value = waiting.pop()
        if isinstance(value, str):
            yield steps, value
        elif isinstance(value, dict):
            yield from (((*steps, name), name) for name in value)
            waiting += [((*steps, name), inner) for name, inner in reversed(value.items())]
        elif isinstance(value, list):
            waiting += [((*steps, index), value[index]) for index in reversed(range(len(value)))]
