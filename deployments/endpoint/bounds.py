"""Bounds on the parts of a request, so that no field of it can block the process for long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import BadInput

DEPTH = 64
"""Nested lists and objects; schemas of tools have some ten levels."""

NAME_CHARS = 256
"""Longest name of a field of the request."""


@dataclass(frozen=True)
class Bounds:
    """`messages`: of a request, or items of its input. `fields`: values at every depth in any one field and any one
    message (entries of `logit_bias`, of tools' schemas, content parts, ...)."""

    messages: int = 4096
    fields: int = 16_384

    def check(self, data: Mapping[str, Any]) -> None:
        """Raises BadInput, with the field's name, for a request that exceeds them; types are not checked."""
        for name, value in data.items():
            if len(name) > NAME_CHARS:
                raise BadInput(f"the name of a field has more than {NAME_CHARS} characters: {name[:40]!r}...")
            if name in ("messages", "input") and isinstance(value, list):
                if len(value) > self.messages:
                    raise BadInput(f"{name}: at most {self.messages} are taken", name)
                for index, message in enumerate(value):
                    self._measure(message, f"{name}[{index}]")
            else:
                self._measure(value, name)

    def _measure(self, value: Any, where: str) -> None:
        left, level = self.fields, [value]
        for _ in range(DEPTH):
            level = [inner for each in level for inner in _inside(each)]
            left -= len(level)
            if left < 0:
                raise BadInput(f"{where} holds more than {self.fields} values", where)
            if not level:
                return
        raise BadInput(f"{where} is nested more than {DEPTH} deep", where)


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


DEFAULT = Bounds()
