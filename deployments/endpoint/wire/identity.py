"""Which request this is: of the header `Idempotency-Key`, and whether two bodies ask for the same."""

from __future__ import annotations

import hashlib
import json

from starlette.requests import Request

from models.digest import json_digest
from models.errors import BadInput

HEADER = "Idempotency-Key"
MAX_KEY = 255

_SCOPE = "POST /v1/chat/completions"
_DELIVERY = ("stream", "stream_options")
"""How an answer is delivered, not what it says: one key may be asked for whole and streamed."""


def key_of(request: Request) -> str | None:
    """The digest of the caller's key, which alone is kept. Raises BadInput for one that is empty or too long."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY or not (key.isascii() and key.isprintable()):
        raise BadInput(f"{HEADER} has to be 1 to {MAX_KEY} printable ASCII characters", HEADER)
    return hashlib.sha256(f"{_SCOPE}\n{key}".encode()).hexdigest()


def id_of(key: str) -> str:
    """The id of the request that a key's digest names."""
    return f"chatcmpl-{key[:32]}"


def digest_of(body: bytes, workers: str | None) -> str:
    """Equal for two bodies that ask for the same; `workers` is what the header X-Fugu-Workers says."""
    asked = {name: value for name, value in json.loads(body).items() if name not in _DELIVERY}
    return json_digest([asked, workers])
