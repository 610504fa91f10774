"""Identity of a request: its header `Idempotency-Key`, and a digest of what it asks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from deployments.endpoint.answer.question import Key
from models.digest import json_digest
from models.errors import BadInput

HEADER = "Idempotency-Key"
MAX_KEY = 255

_DELIVERY = ("stream", "stream_options")
"""How an answer is delivered, not what it says: one key may be sent for it whole and streamed."""


def key_of(headers: Mapping[str, str], scope: str, prefix: str) -> Key | None:
    """The caller's key. `scope`: equal keys of two scopes are two keys. `prefix`: of the request's id.

    Raises BadInput for a key that is empty or too long.
    """
    key = headers.get(HEADER)
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY or not (key.isascii() and key.isprintable()):
        raise BadInput(f"{HEADER} has to be 1 to {MAX_KEY} printable ASCII characters", HEADER)
    digest = hashlib.sha256(f"{scope}\n{key}".encode()).hexdigest()
    return Key(digest, f"{prefix}{digest[:32]}")


def digest_of(body: bytes, workers: str | None) -> str:
    """Equal for two bodies that ask for the same; `workers`: the header X-Fugu-Workers."""
    asked = {name: value for name, value in json.loads(body).items() if name not in _DELIVERY}
    if isinstance(asked.get("fugu"), dict):  # without what is shown beside the answer
        asked["fugu"] = {name: value for name, value in asked["fugu"].items() if name != "show_work"}
        asked = {name: value for name, value in asked.items() if value or name != "fugu"}
    return json_digest([asked, workers])
