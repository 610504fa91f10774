"""The digest by which values are compared and found: sha256 of their JSON with sorted keys."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def json_digest(value: Any, *, compact: bool = False) -> str:
    """sha256 (hex) of a JSON value. `compact`: of its form without spaces and escapes, as a call's identity has it."""
    options: dict[str, Any] = {"separators": (",", ":"), "ensure_ascii": False} if compact else {}
    return hashlib.sha256(json.dumps(value, sort_keys=True, **options).encode()).hexdigest()
