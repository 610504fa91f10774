"""Replies in a format, JSON or JSON by a schema: asked for in words, read, checked, and asked for again.

A schema is the caller's: what it refers to outside of itself is never fetched, and its patterns are given little time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import regex
from cachetools import LRUCache, cached
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import extend
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from models.digest import json_digest
from models.errors import BadInput, Unfit
from models.workers.ask import Ask, Message, Reply, Sampling

PATTERN_S = 0.1
"""Limit of one search for a pattern."""

SHOWN = 500
"""Characters of a complaint that a worker is shown."""

COMPLAINT = 2 * SHOWN
"""Bytes of what a worker is told of a reply that does not fit its format, beside that reply."""

FIELD = "response_format"
SCHEMA = f"{FIELD}.json_schema.schema"

FENCE = re.compile(r"\s*```[a-zA-Z]*\n(.*?)\n?\s*```\s*", re.DOTALL)
"""A reply that is one block of code."""


def schema_of(sampling: Sampling) -> dict[str, Any] | None:
    """The schema that a reply has to fit; `None`: any reply does."""
    form = sampling.response_format or {"type": "text"}
    if form["type"] == "json_schema":
        return dict(form["json_schema"].get("schema") or {})
    return {"type": "object"} if form["type"] == "json_object" else None


def check(sampling: Sampling) -> None:
    """Raises BadInput for a schema that is none, or that refers to something outside of itself."""
    schema = schema_of(sampling)
    if schema is None:
        return
    outside = next((ref for ref in _refs(schema) if not ref.startswith("#")), None)
    if outside is not None:
        raise BadInput(f"{SCHEMA}: it refers to {outside[:100]!r}, and nothing outside of it is read", SCHEMA)
    try:
        _validator(json_digest(schema), schema)
    except (SchemaError, RecursionError) as error:
        said = error.message if isinstance(error, SchemaError) else "it is nested too deep"
        raise BadInput(f"{SCHEMA} is no JSON schema: {said[:200]}", SCHEMA) from None


def asked_for(sampling: Sampling) -> str:
    """The format in words, for the prompt of a worker that has no mode for it."""
    alone = "Reply with one JSON object and nothing else: no words before or after it, and no Markdown."
    form = sampling.response_format or {}
    if form.get("type") != "json_schema":
        return alone
    told = form["json_schema"]
    about = f" ({told['description']})" if told.get("description") else ""
    schema = json.dumps(schema_of(sampling), ensure_ascii=False)
    return f"{alone.replace('object', 'value')}\nIt has to be valid by this JSON schema{about}:\n{schema}"


def with_words(messages: Sequence[Message], words: str) -> tuple[dict[str, Any], ...]:
    """The messages with the words at the end of the first one, if that is the system's, else before them."""
    first, *rest = [dict(message) for message in messages]
    if first["role"] not in ("system", "developer"):
        return {"role": "system", "content": words}, first, *rest
    content = first["content"]
    more = [*content, {"type": "text", "text": words}] if isinstance(content, list) else f"{content}\n\n{words}"
    return {**first, "content": more}, *rest


def settled(reply: Reply, sampling: Sampling) -> Reply:
    """The reply with its JSON alone, out of its block of code. Raises Unfit for one that does not fit the format.

    A reply that calls tools, that was cut off by its limit of tokens or refused is handed on as it is: its finish
    reason says so.
    """
    schema = schema_of(sampling)
    if schema is None or reply.tool_calls or reply.finish_reason != "stop":
        return reply
    text = reply.text or ""
    inside = FENCE.fullmatch(text)
    text = text if inside is None else inside[1]
    wrong = _complaint(text, schema)
    if wrong is not None:
        raise Unfit(wrong)
    return reply if text == reply.text else reply.model_copy(update={"text": text, "logprobs": None})


def repaired(ask: Ask, reply: Reply, wrong: Unfit) -> Ask:
    """The ask that asks the same worker again, with its reply and what is wrong with it."""
    return ask.model_copy(update={"messages": (*ask.messages, *repair(reply, wrong))})


def repair(reply: Reply, wrong: Unfit) -> list[dict[str, Any]]:
    """The turns that tell a worker what is wrong with its reply."""
    asked = f"This does not fit the format that was asked for: {wrong}. Reply again, with the corrected JSON alone."
    return [{"role": "assistant", "content": reply.text or ""}, {"role": "user", "content": asked}]


def _complaint(text: str, schema: dict[str, Any]) -> str | None:
    """What is wrong with a reply's text; `None`: it fits."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"it is no JSON: {error}"[:SHOWN]
    try:
        found = best_match(_validator(json_digest(schema), schema).iter_errors(value))
    except (Unresolvable, RecursionError, regex.error) as error:
        return f"the schema cannot be applied: {type(error).__name__}"
    return None if found is None else f"{found.json_path}: {found.message}"[:SHOWN]


def _refs(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict):
            yield from (ref for name in ("$ref", "$dynamicRef") if isinstance(ref := inner.get(name), str))
            waiting += inner.values()
        elif isinstance(inner, list):
            waiting += inner


def _matches(pattern: str, text: str) -> bool:
    try:
        return regex.search(pattern, text, timeout=PATTERN_S) is not None
    except TimeoutError:
        return False


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError(f"{instance[:100]!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    for pattern, below in patterns.items():
        for name, value in instance.items() if isinstance(instance, dict) else ():
            if _matches(pattern, name):
                yield from validator.descend(value, below, path=name, schema_path=pattern)


_Validator = extend(Draft202012Validator, {"pattern": _pattern, "patternProperties": _pattern_properties})


@cached(LRUCache(256), key=lambda digest, schema: digest)
def _validator(digest: str, schema: dict[str, Any]) -> Any:
    _Validator.check_schema(schema)
    return _Validator(schema, registry=EMPTY_REGISTRY)
