"""What a file of recorded scores says of one worker's reply to one question."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import BadFile
from models.grading.question import Messages, Split

NAN = math.nan


@dataclass(frozen=True)
class Row:
    """An object in a file. `root`: the file or folder that was named; `line`: where it begins, from 1."""

    root: Path
    path: Path
    line: int
    value: Mapping[str, Any]

    def bad(self, message: str) -> BadFile:
        """The error that names file and line."""
        return BadFile(self.path, message, self.line)

    def text(self, *names: str) -> str:
        """The text of the first of these fields that is there. Raises BadFile where it is none, or is empty."""
        value = next((self.value[name] for name in names if name in self.value), None)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value.strip():
            raise self.bad(f"{names[0]}: a text is needed")
        return value

    def number(self, *path: str) -> float:
        """The number at a path of fields; NaN where it is not given. Raises BadFile for a text that is no number."""
        value: Any = self.value
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return self.read_number(".".join(path), value)

    def read_number(self, name: str, value: Any) -> float:
        """A field's value as a number; NaN where it is null or empty. Raises BadFile."""
        if value is None or value == "":
            return NAN
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise self.bad(f"{name}: {str(value)[:40]!r} is not a number") from None
        if not math.isfinite(number):
            raise self.bad(f"{name}: {number} is not a number that can be used")
        return number


@dataclass(frozen=True)
class Asked:
    """A question that was asked."""

    id: str
    task: str
    messages: Messages
    split: Split = ""
    metric: str = ""


@dataclass(frozen=True)
class Reply:
    """One worker's graded reply. `score` in [0, 1]; USD, tokens and `seconds`: NaN where they are not known."""

    row: Row
    asked: Asked
    worker: str
    score: float
    usd: float = NAN
    prompt_tokens: float = NAN
    completion_tokens: float = NAN
    seconds: float = NAN


Replies = Iterator[Reply]


def user(text: str) -> Messages:
    """A question that is one message."""
    return ({"role": "user", "content": text},)
