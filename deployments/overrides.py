"""What no caller of Prefect's API may override: how a flow run is started, and that its parameters are checked.

Nor may a question stand in the parameters where texts are not shown: there it would stay.

Prefect holds job variables against the pool's template where a run is created from a deployment, but not where one is
created without, nor where a deployment is changed; and a caller may ask for parameters not to be checked at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.setup.texts import ASK_OTHERWISE, are_literal, shown

ACTIONS = ("actions", "actions_on_trigger", "actions_on_resolve")
"""Of an automation: each may run a deployment."""


class Overrides:
    """Plain ASGI inside Prefect's API: answers 422 to a body that sets job variables or leaves parameters unchecked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT", "PATCH"):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        body = await request.body()
        if (refusal := _refusal(body)) is not None:
            await JSONResponse({"detail": refusal}, 422)(scope, receive, send)
            return
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, again, send)


def _refusal(body: bytes) -> str | None:
    try:
        # As FastAPI reads it: of a key that comes twice the last one counts.
        wanted = json.loads(body)
    except (ValueError, RecursionError):
        return None
    for item in _items(wanted):
        if item.get("job_variables"):
            return "job variables are not taken: the work pool fixes command, environment and folder of its runs"
        if item.get("enforce_parameter_schema", True) not in (True, None):
            return "enforce_parameter_schema: parameters are always checked"
        parameters = item.get("parameters")
        asked = parameters.get("questions") if isinstance(parameters, dict) else None
        if asked is not None and are_literal(asked) and not shown():
            return ASK_OTHERWISE
    return None


def _items(wanted: Any) -> Iterator[dict[str, Any]]:
    """The objects of a request that say how something is run: itself, those that it lists, and their actions."""
    for item in wanted if isinstance(wanted, list) else [wanted]:
        if isinstance(item, dict):
            yield item
            for name in ACTIONS:
                yield from _items(item.get(name))
