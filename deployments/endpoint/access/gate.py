"""ASGI middleware behind the doors: who asks, and whether the key allows it. Host and Origin have been checked before.

All but the probes need a key where the home has keys: `/v1/…` the scope `chat`, the document of the API any key, all
other pages the scope `trace`, and what changes something there `admin`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.endpoint.access.rates import Rates, Visit
from deployments.endpoint.access.ring import Keyring
from deployments.endpoint.answer.owner import OWNER
from deployments.endpoint.answer.question import ANYONE, Caller
from deployments.endpoint.connections import PROBES
from deployments.endpoint.wire.anthropic.errors import refusal
from deployments.endpoint.wire.problems import Problem, problem_of

_CALLER, _VISIT = "fugu.caller", "fugu.visit"
_READS = frozenset({"GET", "HEAD"})


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """Who sent the request of this ASGI scope."""
    found: Caller = scope.get(_CALLER, ANYONE)
    return found


def note_tokens(scope: Mapping[str, Any], tokens: int) -> None:
    """Say how many tokens the answer to the request of this ASGI scope has used; they count for its key's rate."""
    visit: Visit | None = scope.get(_VISIT)
    if visit is not None:
        visit.tokens = tokens


class Gate:
    def __init__(self, app: ASGIApp, ring: Keyring, rates: Rates) -> None:
        self.app, self._ring, self._rates = app, ring, rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        try:
            caller = await self._ring.caller(Headers(scope=scope), reads=scope["method"] in _READS)
            _check(caller, scope)
            visit = await self._visit(caller, scope)
        except Exception as error:
            await refusal(scope, problem_of(error))(scope, receive, send)
            return
        OWNER.set(caller.key)
        if visit is None:
            await self.app({**scope, _CALLER: caller}, receive, send)
            return
        try:
            await self.app({**scope, _CALLER: caller, _VISIT: visit}, receive, _with_headers(send, visit))
        finally:
            visit.leave()

    async def _visit(self, caller: Caller, scope: Scope) -> Visit | None:
        """The request, counted, where the key has rates. Raises Problem 429."""
        if scope["method"] in _READS or not caller.policy.has_rates:
            return None
        visit = self._rates.visit(caller, int(Headers(scope=scope).get("Content-Length") or 0))
        await visit.enter(caller.name)
        return visit


def _with_headers(send: Send, visit: Visit) -> Send:
    """`send`, which adds what is left of the key's rates to the head of the answer."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            told = [(name.encode(), value.encode()) for name, value in visit.headers()]
            message = {**message, "headers": [*message.get("headers", ()), *told]}
        await send(message)

    return sending


def _check(caller: Caller, scope: Scope) -> None:
    """Raises Problem 403 for a key that lacks the scope that this path needs."""
    path, reads = scope["path"], scope["method"] in _READS
    if path == "/openapi.json" and reads:
        return
    need_scope(caller, "chat" if path.startswith("/v1/") else "trace" if reads else "admin")


def need_scope(caller: Caller, needed: str, what: str = "") -> None:
    """Raises Problem 403 for a key without the scope. `what`: what needs it."""
    if needed not in caller.policy.scopes:
        message = f"{what or 'this'} needs the scope {needed!r}, which the key {caller.name!r} does not have"
        raise Problem(403, message, "permission_error", "insufficient_scope")
