"""Keys of an endpoint's home."""

from __future__ import annotations

import pytest

from models.ledger.access.keys import make_key
from models.ledger.access.policy import Policy


@pytest.fixture
def key(ledger):
    """Makes a key with this policy, and gives the header that it is sent in."""

    def make(name="ci", lives=None, **policy):
        _, key = make_key(ledger, name, Policy(**policy), lives)
        return {"Authorization": f"Bearer {key}"}

    return make


@pytest.fixture
def post():
    """Posts a chat completion to an endpoint."""

    def post(here, headers=None, path="/v1/chat/completions", model="fugu", **fields):
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **fields}
        return here.raw.post(path, json=body, headers=headers or {})

    return post
