"""Whether an endpoint is ready, and what it answers."""

from __future__ import annotations

import httpx

from models.errors import PermanentError

QUESTION = "What is 17 * 24 + 5?"

TIMEOUT_S = 300.0
"""How long a small model on a slow machine may take to answer."""


def tried(endpoint: str, key: str, *, strict: bool) -> str:
    """What came of a test question, in one line. Where no worker can answer it now, the endpoint serves all the same;
    with `strict` PermanentError is raised."""
    try:
        return f"fugu was asked {QUESTION!r} and answered {ask(endpoint, QUESTION, key)!r}"
    except PermanentError as error:
        if strict:
            raise
        return f"warning: {error} (`fugu pool check` asks each worker)"


def ask(endpoint: str, question: str, key: str) -> str:
    """The answer of `fugu`, through the openai client. Raises PermanentError with the endpoint's message."""
    import openai

    client = openai.OpenAI(base_url=f"{endpoint}/v1", api_key=key, max_retries=0, timeout=TIMEOUT_S)
    try:
        reply = client.chat.completions.create(model="fugu", messages=[{"role": "user", "content": question}])
    except openai.OpenAIError as error:
        raise PermanentError(f"the endpoint at {endpoint} did not answer: {error}") from None
    return (reply.choices[0].message.content or "").strip()


def not_ready(endpoint: str) -> str:
    """The message of `/readyz` while the endpoint is not ready; empty once it is."""
    try:
        reply = httpx.get(f"{endpoint}/readyz", timeout=5, trust_env=False)
    except httpx.TransportError as error:
        return str(error) or type(error).__name__
    return "" if reply.status_code == 200 else f"{reply.status_code} {reply.text.strip()}"
