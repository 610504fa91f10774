"""Serves the pages: server-rendered, without scripts, and nothing in them is fetched from elsewhere.

All that a user or a model said is escaped (Jinja2's autoescape); the policy of the browser forbids scripts besides.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from deployments.endpoint.pages.runs import prefect_url
from deployments.endpoint.pages.sight import Sees, Sight
from deployments.endpoint.pages.views import Spending, front, one
from deployments.endpoint.wire.problems import Problem, problem_response
from models.errors import LedgerAway, NotFound
from models.ledger.store import Ledger
from models.workers.pool import Pool

TEMPLATES = Path(__file__).with_name("templates")

State = Callable[[], Awaitable[dict[str, Any]]]

SHORT = 24
"""Characters of an id in a list."""


class Site:
    """The pages of one application. `sees`: what a visitor may see. `state`: what only the process knows: `ready`, what
    is `lacking`, and who is `serving` which model."""

    def __init__(self, ledger: Ledger, pool: Pool, sees: Sees, state: State) -> None:
        self._ledger, self._pool, self._sees, self._state = ledger, pool, sees, state
        self._spending = Spending(ledger)

    async def front(self, request: Request) -> Response:
        """The first page. `before`: a time in ISO 8601, for the requests before it."""
        try:
            given = request.query_params.get("before")
            before = None if given is None else datetime.fromisoformat(given).astimezone(UTC)
        except (ValueError, OverflowError):
            return _page("nothing.html", 400, heading="Not a time", words="before: a time such as 2026-01-31T12:00:00Z")
        return await self._shown(request, "front.html", lambda texts: front(*self._parts, texts, before))

    async def request(self, request: Request) -> Response:
        """The page of one request."""
        id = request.path_params["id"]
        return await self._shown(request, "request.html", lambda texts: one(self._ledger, id, texts))

    async def _shown(self, request: Request, name: str, read: Callable[[bool], dict[str, Any]]) -> Response:
        sight = await self._sees(request)
        if sight < Sight.FIGURES:
            return refused()
        texts = sight >= Sight.TEXTS
        try:
            found = await asyncio.to_thread(read, texts)
        except NotFound:
            return _page("nothing.html", 404, heading="Not found", words="The ledger has no request of this id.")
        except LedgerAway:
            return _page("nothing.html", 503, heading="Not now", words="The ledger cannot be read at the moment.")
        more = await self._state() if name == "front.html" else {}
        # In a thread: a page of long texts takes tenths of a second.
        return await asyncio.to_thread(_page, name, 200, texts=texts, prefect=prefect_url(), **found, **more)

    @property
    def _parts(self) -> tuple[Ledger, Pool, Spending]:
        return self._ledger, self._pool, self._spending


def refused() -> Response:
    """Asks for a password, which a browser then sends by itself."""
    headers = {"WWW-Authenticate": 'Basic realm="fugu-flows", charset="UTF-8"'}
    return problem_response(Problem(401, "this page asks for a key, as the password", code="key_needed"), headers)


def _page(name: str, status: int, **values: Any) -> Response:
    environment, headers = _templates()
    page = environment.get_template(name).render(now=datetime.now(UTC), **values)
    return HTMLResponse(page, status, headers)


@lru_cache(maxsize=1)
def _templates() -> tuple[Environment, dict[str, str]]:
    """The templates, and the headers of every page."""
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.globals["style"] = Markup(style)
    made.filters |= {
        "clock": lambda at: f"{at:%Y-%m-%d %H:%M:%S}",
        "stamp": lambda at: quote(at.isoformat()),
        "usd": lambda usd: f"${usd:,.2f}" if usd == 0 or usd >= 1 else f"${usd:.6f}",
        "seconds": lambda seconds: "–" if seconds is None else f"{float(seconds):.2f}",
        "counted": lambda number, what: f"{int(number or 0)} {what}{'' if number == 1 else 's'}",
        "short": lambda id: id if len(id) <= SHORT else f"{id[:SHORT]}…",
        "request": lambda id: f"/requests/{quote(id, safe='/')}",
        "drawing": Markup,  # `models/conductor/run/drawing.py` escapes what is in it
    }
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return made, {
        "Content-Security-Policy": f"{policy}; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
