"""`fugu ask`."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from deployments.commands.options import Home


def ask(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    model: Annotated[Literal["fugu", "trinity", "fugu-ultra"], typer.Option(help="The model to ask.")] = "fugu",
    trace: Annotated[bool, typer.Option("--trace", help="Also print worker and plan to standard error.")] = False,
    home: Home = None,
) -> None:
    """Ask the endpoint of the running `fugu up`."""
    import httpx

    from deployments.home import find_note, secret
    from models.errors import PermanentError
    from tasks.setup.settings import settings

    endpoint = find_note(settings().home).endpoint
    if not endpoint:
        raise PermanentError("`fugu up` is still starting: the endpoint is not ready")
    body = {"model": model, "messages": [{"role": "user", "content": question}]}
    headers = {"Authorization": f"Bearer {secret(settings().home)}"} | ({"X-Fugu-Trace": "1"} if trace else {})
    try:
        reply = httpx.post(f"{endpoint}/v1/chat/completions", json=body, headers=headers, timeout=3600, trust_env=False)
        answer = reply.json()
    except (httpx.TransportError, ValueError) as error:
        raise PermanentError(f"the endpoint at {endpoint} did not answer: {error}") from None
    if reply.status_code != 200:
        raise PermanentError(str(answer.get("error", {}).get("message", answer)))
    typer.echo(answer["choices"][0]["message"]["content"])
    if trace:
        typer.echo(json.dumps(answer.get("fugu", {}), indent=2), err=True)
