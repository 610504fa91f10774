"""The digest by which values are compared and found: sha256 of their JSON with sorted keys."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def folder_digest(folder: Path) -> str:
    """sha256 (hex) of the files that lie in a folder, with their names."""
    each = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            each[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return json_digest(each)


def json_digest(value: Any, *, compact: bool = False) -> str:
    """sha256 (hex) of a JSON value. `compact`: of its form without spaces and escapes, as a call's identity has it."""
    options: dict[str, Any] = {"separators": (",", ":"), "ensure_ascii": False} if compact else {}
    return hashlib.sha256(json.dumps(value, sort_keys=True, **options).encode()).hexdigest()
