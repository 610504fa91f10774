"""How large the parts of a request may be, so that none of its fields can cost everybody's time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import BadInput

DEPTH = 64
"""Lists and objects within one another; the schemas of tools that people write have some ten."""

NAME_CHARS = 256
"""Of the name of a field of the request."""


@dataclass(frozen=True)
class Bounds:
    """`messages`: of a request. `fields`: in any one of its fields, and in any one message: the values in it, whatever
    they are and at every depth (entries of `logit_bias`, of tools' schemas, content parts, ...)."""

    messages: int = 4096
    fields: int = 16_384

    def check(self, data: Mapping[str, Any]) -> None:
        """Raises BadInput, with the field's name, for a request that is out of them; its types are not looked at."""
        for name, value in data.items():
            if len(name) > NAME_CHARS:
                raise BadInput(f"the name of a field has more than {NAME_CHARS} characters: {name[:40]!r}...")
            if name == "messages" and isinstance(value, list):
                if len(value) > self.messages:
                    raise BadInput(f"messages: at most {self.messages} are taken", "messages")
                for index, message in enumerate(value):
                    self._measure(message, f"messages[{index}]")
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
