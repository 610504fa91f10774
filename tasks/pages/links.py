"""Where a page links to: runs and pages in Prefect's UI, a request's page on the endpoint."""

from __future__ import annotations

import json
from contextlib import suppress
from urllib.parse import quote
from uuid import UUID

from tasks.setup.settings import settings

ANNOUNCED = "endpoint.json"
"""The file in the home in which the endpoint of `fugu up` says its URL."""


def request_url(id: str) -> str:
    """The endpoint's page of a request, with question and replies; "" where no endpoint is known."""
    here = settings()
    url = here.endpoint_url
    if not url:
        with suppress(OSError, ValueError, KeyError, TypeError):
            url = str(json.loads((here.home / ANNOUNCED).read_text(encoding="utf-8"))["url"])
    return f"{url.rstrip('/')}/requests/{quote(id, safe='')}" if url else ""


def link(text: str, url: str) -> str:
    """Markdown: the text with a link."""
    return f"[{text}]({url})"


def run_url(id: UUID) -> str:
    """A flow run's page in Prefect's UI, relative: the UI's address may change, as with another port."""
    return f"/runs/flow-run/{id}"


def page_url(id: UUID) -> str:
    """An artifact's page in Prefect's UI, relative."""
    return f"/artifacts/artifact/{id}"
