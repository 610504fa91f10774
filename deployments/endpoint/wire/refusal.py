"""A request that does not validate as one clear error: which field it is, and what it has to be, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from deployments.endpoint.bounds import Bounds
from deployments.endpoint.wire.body import Step, place, read_object
from deployments.endpoint.wire.messages import TAG, UNKNOWN
from models.errors import BadInput

T = TypeVar("T")

NOUNS = {"messages": "message", "stop": "stop", "tools": "tool"}
"""What a list holds."""

WORDS = {
    "missing": "{field} is missing",
    "extra_forbidden": "{field} is not a field that this endpoint can honour",
    "string_type": "{field} has to be text",
    "int_type": "{field} has to be a whole number",
    "int_from_float": "{field} has to be a whole number",
    "float_type": "{field} has to be a number",
    "finite_number": "{field} has to be a finite number",
    "bool_type": "{field} has to be true or false",
    "list_type": "{field} has to be a list",
    "dict_type": "{field} has to be an object",
    "model_type": "{field} has to be an object",
    "literal_error": "{field} has to be {expected}",
    "greater_than_equal": "{field} has to be at least {ge}",
    "less_than_equal": "{field} has to be at most {le}",
    "too_short": "{field} needs at least {min_length} {noun}",
    "too_long": "{field} takes at most {max_length} {noun}s",
    "string_too_long": "{field} takes at most {max_length} characters",
    "string_too_short": "{field} may not be empty",
}
"""pydantic's type of an error -> what a person reads."""


def validated(body: bytes, within: Bounds, validate: Callable[..., T]) -> T:
    """A request's body as `validate` reads its fields. Raises BadInput, with the name of the first wrong one."""
    data = read_object(body)
    within.check(data)
    # Clients write null for an option that is not used.
    data = {name: value for name, value in data.items() if value is not None}
    try:
        return validate(data, strict=True)
    except ValidationError as error:
        raise first_of(error, data) from None


def first_of(error: ValidationError, data: Any) -> BadInput:
    """The first error, with the name of its field in `data`."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = _field(first["loc"], first["type"], data)
    words = WORDS.get(first["type"])
    if words is None:
        return BadInput(f"{field}: {first['msg'].removeprefix('Value error, ')}", field)
    return BadInput(words.format(field=field, noun=NOUNS.get(field, "value"), **first.get("ctx", {})), field)


def _field(steps: Sequence[Step], complaint: str, data: Any) -> str:
    """The name of the field that `steps` lead to in `data`, without the names of the forms that pydantic tried."""
    taken: list[Step] = []
    for step in steps:
        if isinstance(step, str) and step.startswith(TAG) and not (isinstance(data, dict) and step in data):
            continue
        if isinstance(step, int) and isinstance(data, list):
            data = data[step]
        elif isinstance(data, dict):
            data = data.get(step)
        else:
            break
        taken.append(step)
    if complaint.startswith(UNKNOWN) and isinstance(data, dict):
        taken += [name for name in [complaint.removeprefix(UNKNOWN)] if name]
    elif len(taken) == 2 and not isinstance(data, dict) and isinstance(taken[1], int):
        taken.pop()  # a list of plain values is one field
    return place(taken)
