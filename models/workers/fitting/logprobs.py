"""Log probabilities of a reply's tokens, in OpenAI's shape, as far as an upstream sends them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from models.ledger.text import storable

TOKEN_CHARS = 256
MOST_ALTERNATIVES = 20
ENTRY_BYTES = 64
"""Bytes that one entry takes in a response, by the measure of `Saying.most`, which is a sixth of what is read."""


def read(given: Any, most: int) -> list[dict[str, Any]]:
    """The entries of a choice's field `logprobs`, at most `most`; those that are none are left out."""
    content = given.get("content") if isinstance(given, Mapping) else None
    if not isinstance(content, Sequence) or isinstance(content, str):
        return []
    found = []
    for entry in content[:most]:
        if (own := _entry(entry)) is not None:
            others = entry.get("top_logprobs")
            others = others[:MOST_ALTERNATIVES] if isinstance(others, list) else []
            found.append({**own, "top_logprobs": [each for other in others if (each := _entry(other)) is not None]})
    return found


def _entry(given: Any) -> dict[str, Any] | None:
    if not isinstance(given, Mapping) or not isinstance(token := given.get("token"), str):
        return None
    logprob = given.get("logprob")
    if not isinstance(logprob, int | float) or isinstance(logprob, bool):
        return None
    # JSON has no minus infinity; OpenAI writes -9999.
    value = float(logprob) if math.isfinite(logprob) else -9999.0
    octets = given.get("bytes")
    valid = isinstance(octets, list) and all(type(each) is int and 0 <= each < 256 for each in octets[:TOKEN_CHARS])
    shown = octets[:TOKEN_CHARS] if valid and isinstance(octets, list) else None
    return {"token": storable(token[:TOKEN_CHARS]), "logprob": value, "bytes": shown}
