"""Which tool a question asks for, by the words that they share, and its arguments, found in the question."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.house.workers.coder.filling import Source, filled, matches
from models.house.workers.coder.vocabulary import WORDS

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True)
class Chosen:
    """`tool`: its name, or `None`, and then `why`."""

    tool: str | None
    arguments: Mapping[str, Any]
    why: str = ""


def chosen(question: str, tools: Sequence[Mapping[str, Any]], choice: str | Mapping[str, Any]) -> Chosen:
    """The tool to call. `choice`: `auto`, `required`, or a function's name in OpenAI's form."""
    functions = [tool["function"] for tool in tools if tool.get("type", "function") == "function"]
    if isinstance(choice, Mapping):
        named = (choice.get("function") or {}).get("name")
        functions = [function for function in functions if function["name"] == named]
    asked = _words(question)
    ranked = sorted(functions, key=lambda function: -_shared(asked, function))  # stable: the first of equals
    why = "none of the tools shares a word with the question"
    for function in ranked:
        if choice == "auto" and not _shared(asked, function):
            break
        schema = function.get("parameters") or {"type": "object", "properties": {}}
        arguments = filled(schema, Source(question), choosing=True)
        if isinstance(arguments, dict) and matches(arguments, schema):
            return Chosen(function["name"], arguments)
        why = f"the question does not state what {function['name']} needs"
    return Chosen(None, {}, why)


def _shared(asked: set[str], function: Mapping[str, Any]) -> int:
    """How many words of the question the function's name and description have; those of its name count twice."""
    name, described = _words(function["name"]), _words(function.get("description") or "")
    return 2 * len(asked & name) + len(asked & (described - name))


def _words(text: str) -> set[str]:
    """Stems (five letters) of the words that say something."""
    found = re.findall(r"[a-z]+", _CAMEL.sub(" ", text).lower())
    return {word[:5] for word in found if word not in WORDS.stop and len(word) > 1}
