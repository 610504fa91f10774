"""Reject Prefect API requests that override how a flow run is started or that switch off parameter checks.

Questions in the parameters are rejected too where texts may not be shown, since Prefect's database would keep them.

Prefect validates job variables against the pool's template when a run is created from a deployment, but not when a run
is created without one or a deployment is changed; and a caller may switch off the parameter checks.
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
"""Fields of an automation; each action in them may run a deployment."""


class Overrides:
    """ASGI middleware in Prefect's API: answers 422 to a body with job variables or without parameter checks."""

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
        # As FastAPI parses it: of duplicate keys the last one counts.
        wanted = json.loads(body)
    except (ValueError, RecursionError):
        return None
    for item in _items(wanted):
        if item.get("job_variables"):
            return "job variables are not accepted: the work pool fixes command, environment and folder of its runs"
        if item.get("enforce_parameter_schema", True) not in (True, None):
            return "enforce_parameter_schema cannot be switched off: parameters are always checked"
        parameters = item.get("parameters")
        asked = parameters.get("questions") if isinstance(parameters, dict) else None
        if asked is not None and are_literal(asked) and not shown():
            return ASK_OTHERWISE
    return None


def _items(wanted: Any) -> Iterator[dict[str, Any]]:
    """The objects of a request that may start a run: the body, the items of a list, and their actions."""
    for item in wanted if isinstance(wanted, list) else [wanted]:
        if isinstance(item, dict):
            yield item
            for name in ACTIONS:
                yield from _items(item.get(name))
