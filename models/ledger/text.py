"""Replacement of characters and numbers that databases cannot store; the last check before a write."""

from __future__ import annotations

import math
from typing import Any

MOST = 2**63 - 1
"""The largest whole number in the ledger's columns and JSON values."""


def storable(text: str) -> str:
    """The text with NUL and lone surrogates replaced by U+FFFD; two halves of a pair are joined to a character."""
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd")


def storable_json(value: Any) -> Any:
    """A JSON value with storable texts, whole numbers clamped to 64 bits, and `null` for NaN and infinity."""
    match value:
        case str():
            return storable(value)
        case float():
            return value if math.isfinite(value) else None
        case bool() | None:
            return value
        case int():
            return min(max(value, -MOST), MOST)
        case dict():
            return {storable(str(key)): storable_json(each) for key, each in value.items()}
        case list() | tuple():
            return [storable_json(each) for each in value]
    return value
