"""Grader `calls`: the tool calls that a reply lists are the expected ones, in their order.

The reference is a list of `{"name": …, "arguments": {…}}`. The reply's calls are its last JSON list of such objects. No
tool is run. The score is the number of calls that match, in order, divided by the greater number of calls: 1 where the
lists are equal, less for each call that is missing, wrong or too many. Texts are compared without regard to case and
outer spaces, numbers by their value, also where one side has them as a text; an argument that is null is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from models.errors import BadInput
from models.grading.answer import MAX_REPLY_CHARS
from models.grading.exact import normal
from models.grading.question import Question
from models.grading.verdict import Options, Verdict, options_of

VERSION = "calls/1"

_MAX_LISTS = 200  # places in a reply where a list may begin, and calls that are compared
_JSON = json.JSONDecoder()


class Call(BaseModel):
    """One tool call."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)


_CALLS = TypeAdapter(list[Call])


def check(question: Question) -> None:
    """Raises BadInput when the reference is no list of calls, or an empty one."""
    options_of(Options, question.options)
    try:
        expected = _CALLS.validate_python(question.reference)
    except ValidationError:
        expected = []
    if not 0 < len(expected) <= _MAX_LISTS:
        raise BadInput('calls needs a list of {"name": …, "arguments": {…}} as reference', "reference")


def listed(reply: str) -> list[Call] | None:
    """The calls that a reply lists, or None where it lists none."""
    text, at, found = reply[-MAX_REPLY_CHARS:], 0, None
    for _ in range(_MAX_LISTS):
        at = text.find("[", at)
        if at < 0:
            break
        try:
            value, end = _JSON.raw_decode(text, at)
            found, at = _CALLS.validate_python(value), end
        except (ValueError, RecursionError):  # pydantic's errors are ValueErrors
            at += 1
    return found


def grade(question: Question, reply: str) -> Verdict:
    """Score in [0, 1], as the module says."""
    check(question)
    expected, said = _CALLS.validate_python(question.reference), listed(reply)
    if said is None:
        return Verdict(0.0, "lists no call")
    matched = _in_order(expected, said[:_MAX_LISTS])
    return Verdict(matched / max(len(expected), len(said)), f"{matched} of {len(expected)} calls, {len(said)} listed")


def _in_order(expected: Sequence[Call], said: Sequence[Call]) -> int:
    """The most calls that match while both lists keep their order (longest common subsequence)."""
    best = [0] * (len(said) + 1)
    for call in expected:
        before = best[:]
        for at, other in enumerate(said, start=1):
            best[at] = before[at - 1] + 1 if _same(call, other) else max(before[at], best[at - 1])
    return best[-1]


def _same(call: Call, other: Call) -> bool:
    return call.name == other.name and _equal(_given(call.arguments), _given(other.arguments))


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}


def _equal(value: Any, other: Any) -> bool:
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(_equal(value[name], other[name]) for name in value)
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_equal, value, other))
    if isinstance(value, dict | list) or isinstance(other, dict | list):
        return False
    return _plain(value) == _plain(other)


def _plain(value: Any) -> Any:
    """A single value in the form that is compared."""
    if isinstance(value, bool):
        return str(value).casefold()
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return normal(str(value))
