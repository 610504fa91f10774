"""A request's body as JSON values. Every text in it can be stored by any database and read by any tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pydantic_core import from_json

from models.errors import BadInput

Step = str | int
NUL = re.compile("\0")
HALF = re.compile("[\ud800-\udfff]")
SHOWN = 100
"""Characters of a caller's name for something that an error repeats."""


def read_object(body: bytes) -> dict[str, Any]:
    """Raises BadInput for a body that is no JSON object, and for a text with U+0000 or half a surrogate pair.

    Two adjacent halves, each in its own escape, are the character that they form.
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
    """Raises BadInput, with the field. Python's own reader accepts halves and can so locate them."""
    with suppress(ValueError, RecursionError):
        _refuse(HALF, json.loads(body), "holds half of a surrogate pair, which is no character")


def _refuse(unfit: re.Pattern[str], data: Any, complaint: str) -> None:
    """Raises BadInput for the first text or name with a character that is unfit."""
    way = _way(unfit, data)
    if way is not None:
        field = unfit.sub("\ufffd", place(way[::-1]))
        raise BadInput(f"{field} {complaint}", field)


def _way(unfit: re.Pattern[str], value: Any) -> list[Step] | None:
    """The steps to the first text or name with a character that is unfit, the last one first."""
    if isinstance(value, str):
        return [] if unfit.search(value) else None
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, below in inner:
        if isinstance(step, str) and unfit.search(step):
            return [step]
        if (way := _way(unfit, below)) is not None:
            return [*way, step]
    return None
