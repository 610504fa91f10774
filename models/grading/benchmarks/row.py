"""A row of a benchmark, read by the roles of its columns, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class LeftOut(Exception):
    """The row cannot become a question of ours; the message says why, in words that count rows: "whose …"."""


@dataclass(frozen=True)
class Row:
    """`at`: its place in the benchmark's split; `columns`: role to the column's name."""

    at: int
    values: Mapping[str, Any]
    columns: Mapping[str, str]

    def value(self, role: str) -> Any:
        """What stands in the column of a role; None where the catalogue names no column for it."""
        return self.values.get(self.columns[role]) if role in self.columns else None

    def text(self, role: str) -> str:
        """A column's text. Raises LeftOut where it is none."""
        value = self.value(role)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value.strip():
            raise LeftOut(f"whose {self.columns[role]!r} is no text")
        return value.strip()

    @property
    def key(self) -> str:
        """What names the row in its split: its own id, or its place."""
        own = self.value("id")
        return str(own)[:150] if isinstance(own, str | int) and str(own).strip() else str(self.at)

    @property
    def tags(self) -> tuple[str, ...]:
        """The word in the column of role `tag`."""
        value = self.value("tag")
        return (value.strip(),) if isinstance(value, str) and value.strip() else ()


@dataclass(frozen=True)
class Made:
    """A question's parts. `task`: empty, the benchmark's name."""

    text: str
    grader: str
    reference: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    task: str = ""
    tags: tuple[str, ...] = ()
