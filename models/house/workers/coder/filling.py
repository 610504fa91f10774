"""A value for a JSON Schema, of what a text states: numbers, quoted words, names, places, dates, lists, choices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from models.house.workers.coder import stating
from models.house.workers.coder.vocabulary import WORDS
from models.house.workers.problem import quoted

NOTHING = object()
"""No value: the text does not state it, or the schema says more than is read here."""

Schema = Mapping[str, Any]

_KNOWN = frozenset(
    ("type", "properties", "required", "items", "enum", "const", "anyOf", "oneOf", "$ref", "$defs", "definitions",
     "additionalProperties", "title", "description", "default", "examples", "minimum", "maximum", "exclusiveMinimum",
     "exclusiveMaximum", "minItems", "maxItems", "uniqueItems", "minLength", "maxLength", "format", "strict", "$schema",
     "$id")
)  # fmt: skip
"""Keywords that are read, or checked by `matches`. Not `pattern`: a caller's expression could take for ever."""

_DEPTH = 8
_NEAR = 20
"""Characters between a number and the name of the property that it belongs to, at most."""


@dataclass(frozen=True)
class Source:
    """`text`: where values are looked for. `result`: of the text's problem, if it was solved; `said`: how."""

    text: str
    result: str | None = None
    said: str = ""

    @property
    def answer(self) -> Any:
        """The result as a number, a list of numbers or a text."""
        if self.result is None:
            return None
        if (number := stating.number(self.result)) is not None:
            return number
        parts = [stating.number(part) for part in self.result.split(", ")]
        return self.result if None in parts else parts


def filled(schema: Schema, source: Source, *, choosing: bool = False) -> Any:
    """The value, or NOTHING. `choosing`: a required choice that the text does not mention gets its first value."""
    return _Filling(schema, source, choosing).value(schema, "", 0) if _readable(schema) else NOTHING


def matches(value: Any, schema: Schema) -> bool:
    """Whether the value is valid. Local references only."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        Draft202012Validator.check_schema(schema)
        return bool(Draft202012Validator(schema, registry=Registry()).is_valid(value))
    except (SchemaError, Unresolvable, RecursionError):
        return False


def _readable(schema: Any) -> bool:
    """Whether a schema has only keywords that are known here, at any depth."""
    return isinstance(schema, bool) or (
        isinstance(schema, Mapping) and set(schema) <= _KNOWN and all(map(_readable, _inside(schema)))
    )


def _inside(schema: Schema) -> Iterator[Any]:
    for name in ("properties", "$defs", "definitions"):
        yield from (schema.get(name) or {}).values()
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield schema[name]
    for name in ("anyOf", "oneOf"):
        yield from schema.get(name) or ()


def _walked(schema: Any) -> Iterator[Any]:
    """The schema and all in it."""
    yield schema
    for inner in _inside(schema) if isinstance(schema, Mapping) else ():
        yield from _walked(inner)


def _is_number(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") in ("number", "integer")


class _Filling:
    """One schema's values. A number of the text is used once."""

    def __init__(self, root: Schema, source: Source, choosing: bool) -> None:
        self._root, self._source, self._choosing = root, source, choosing
        self._left = stating.numbers(source.text)
        self._in_order = len(self._left) == sum(map(_is_number, _walked(root)))

    def value(self, schema: Any, name: str, depth: int) -> Any:
        if not isinstance(schema, Mapping) or depth > _DEPTH:
            return NOTHING
        if "$ref" in schema:
            return self.value(self._referred(schema["$ref"]), name, depth + 1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._mentioned(schema["enum"])
        if branches := schema.get("anyOf") or schema.get("oneOf"):
            return self._first(branches, name, depth)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            return self._first([{**schema, "type": each} for each in kind], name, depth)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._list(schema.get("items", {}), name, depth)
        if kind in ("integer", "number"):
            return self._number(name, kind == "integer")
        if kind == "string":
            return self._string(schema, name)
        return None if kind == "null" else NOTHING

    def _referred(self, path: str) -> Any:
        found: Any = self._root
        for part in path.removeprefix("#").strip("/").split("/"):
            found = found.get(part) if part and isinstance(found, Mapping) else found
        return found if path.startswith("#") else None

    def _first(self, branches: Iterable[Any], name: str, depth: int) -> Any:
        """The first branch with a value that is not null, else null where that is allowed."""
        values = [self.value(branch, name, depth + 1) for branch in branches]
        found = [value for value in values if value is not NOTHING]
        return next((value for value in found if value is not None), None if found else NOTHING)

    def _mentioned(self, options: list[Any]) -> Any:
        """The option whose words the text has: the longest of several."""
        named = [option for option in options if isinstance(option, str) and stating.has(self._source.text, option)]
        return max(named, key=len, default=None if None in options else NOTHING)

    def _object(self, schema: Schema, depth: int) -> Any:
        properties, required = schema.get("properties") or {}, schema.get("required") or ()
        answering = self._answering(properties, required)
        found = {}
        for name, inner in properties.items():
            value = self._of_answer(inner, depth) if name == answering else NOTHING
            value = self.value(inner, name, depth + 1) if value is NOTHING else value
            if value is NOTHING and isinstance(inner, Mapping):
                value = inner.get("default", NOTHING)
                if value is NOTHING and self._choosing and name in required and inner.get("enum"):
                    value = inner["enum"][0]
            if value is not NOTHING:
                found[name] = value
            elif name in required:
                return NOTHING
        return found

    def _answering(self, properties: Schema, required: Iterable[str]) -> str | None:
        """The property that the problem's result belongs to: by its name, or as the only one that is required."""
        if self._source.result is None:
            return None
        named = [name for name in properties if set(stating.words(name)) & WORDS.answer]
        needed = [name for name in required if not set(stating.words(name)) & WORDS.said]
        return named[0] if named else needed[0] if len(needed) == 1 else None

    def _of_answer(self, schema: Any, depth: int) -> Any:
        """The result in the form of the schema."""
        answer, result = self._source.answer, str(self._source.result)
        if not isinstance(schema, Mapping) or depth > _DEPTH:
            return NOTHING
        if "$ref" in schema:
            return self._of_answer(self._referred(schema["$ref"]), depth + 1)
        kinds = schema.get("type", "string")
        for kind in kinds if isinstance(kinds, list) else [kinds]:
            if kind == "string":
                return result
            if kind in ("integer", "number") and isinstance(answer, int | float):
                return answer if kind == "number" or isinstance(answer, int) else NOTHING
            if kind == "array":
                of_numbers = (schema.get("items") or {}).get("type") in ("integer", "number")
                listed = answer if isinstance(answer, list) else [answer]
                return listed if of_numbers else result.split(", ")
        return NOTHING

    def _list(self, items: Any, name: str, depth: int) -> Any:
        kind = items.get("type", "string") if isinstance(items, Mapping) else None
        if "$ref" in (items or {}) or kind == "object":
            one = self.value(items, name, depth + 1) if self._source.result is not None else NOTHING
            return NOTHING if one is NOTHING else [one]
        if "enum" in (items or {}):
            return [option for option in items["enum"] if stating.has(self._source.text, str(option))] or NOTHING
        if kind in ("integer", "number"):
            numbers, self._left = [number.value for number in self._left], []
            whole = all(isinstance(number, int) for number in numbers)
            return numbers if numbers and (whole or kind == "number") else NOTHING
        return stating.several(name, self._source.text) or NOTHING if kind == "string" else NOTHING

    def _number(self, name: str, whole: bool) -> Any:
        """The number next to the property's name; where there are as many numbers as are asked for, the next one."""
        usable = [number for number in self._left if not whole or isinstance(number.value, int)]
        if not usable:
            return NOTHING
        away, _, found = min((number.distance(self._source.text, name), number.start, number) for number in usable)
        if away > _NEAR and not self._in_order:
            return NOTHING
        self._left.remove(found)
        return found.value

    def _string(self, schema: Schema, name: str) -> Any:
        text, meaning = self._source.text, set(stating.words(name))
        if self._source.result is not None and meaning & WORDS.said:
            return self._source.said
        if self._source.result is not None and meaning & WORDS.answer:
            return self._source.result
        described = f"{name} {schema.get('format', '')}"
        found = stating.one(described, text) or stating.one(str(schema.get("description", "")), text, loosely=True)
        if found is None and len(only := quoted(text)) == 1:
            found = only[0]
        return NOTHING if found is None else found
