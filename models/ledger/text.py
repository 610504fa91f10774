"""What no database takes, made storable: the last line of defence, behind whoever took it in."""

from __future__ import annotations

import math
from typing import Any

MOST = 2**63 - 1
"""The largest whole number of the ledger's columns, which one in a JSON value stays within, too."""


def storable(text: str) -> str:
    """The text with NUL, and lone halves of surrogate pairs, as U+FFFD; two halves that meet are a character."""
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd")


def storable_json(value: Any) -> Any:
    """A JSON value of such texts, of whole numbers within 64 bits, with `null` for what is no finite number."""
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
