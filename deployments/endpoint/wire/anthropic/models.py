"""The list of models as Anthropic's clients read it; they say so with the header `anthropic-version`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

VERSION = "anthropic-version"


def model_info(model: Mapping[str, Any]) -> dict[str, Any]:
    """`model`: in OpenAI's shape."""
    created = datetime.fromtimestamp(model["created"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = model["id"]
    return {"type": "model", "id": name, "display_name": name, "created_at": created, "lifecycle": "active"}


def model_page(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All of them, as one page."""
    data = [model_info(model) for model in models]
    return {"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}
