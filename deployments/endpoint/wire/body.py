"""A request's body as JSON values. Every text in it can be stored by any database and read by any tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json

from models.errors import BadInput
from models.ledger.text import storable

Step = str | int
SHOWN = 100
"""Characters of a caller's name for something that an error repeats."""


def read_object(body: bytes) -> dict[str, Any]:
    """Raises BadInput for a body that is no JSON object.

    U+0000 and half a surrogate pair, which models say and tools print now and then, are replaced by U+FFFD. Two
    adjacent halves, each in its own escape, are the character that they form.
    """
    try:
        data = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        data = _with_halves(body)
        if data is None:
            raise BadInput(f"the body is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadInput("the body has to be a JSON object")
    return _storable(data) if rb"\u0000" in body else data


def place(steps: Sequence[Step]) -> str:
    """`messages[3].content[0].type`"""
    names = (f"[{step}]" if isinstance(step, int) else f".{step[:SHOWN]}" for step in steps)
    return "".join(names).removeprefix(".")


def _with_halves(body: bytes) -> Any:
    """The JSON value without the halves of surrogate pairs, which Python's own reader accepts; `None` if it is none."""
    try:
        return _storable(json.loads(body.decode("utf-8", "surrogatepass"), parse_constant=_refuse))
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(name): _storable(below) for name, below in value.items()}
    return [_storable(below) for below in value] if isinstance(value, list) else value
