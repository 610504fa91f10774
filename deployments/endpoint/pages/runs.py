"""Where Prefect shows a request: its flow run is tagged with the request's id."""

from __future__ import annotations

import base64
import os

import httpx

PATIENCE_S = 1.0
"""How long a page waits for Prefect to say which run it is."""


def prefect_url() -> str | None:
    """Where a browser finds Prefect's UI, if this process knows its API."""
    return _ui_of(os.environ.get("PREFECT_API_URL", "")) or None


def _ui_of(api: str) -> str:
    return os.environ.get("PREFECT_UI_URL", "").rstrip("/") or api.rstrip("/").removesuffix("/api")


def run_url(request: str, api: str | None = None, login: str | None = None) -> str | None:
    """The page of the newest flow run of the request; `None` where there is none, or Prefect does not answer.

    `api`, `login`: Prefect's address and what it asks for (default: those of this process's environment).
    """
    if api is None:
        api, login = os.environ.get("PREFECT_API_URL"), os.environ.get("PREFECT_API_AUTH_STRING")
    if not api:
        return None
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
    wanted = {"flow_runs": {"tags": {"all_": [request]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 1}
    try:
        url = f"{api.rstrip('/')}/flow_runs/filter"
        answer = httpx.post(url, json=wanted, headers=headers, timeout=PATIENCE_S, trust_env=False)
        found = answer.raise_for_status().json()
        return f"{_ui_of(api)}/runs/flow-run/{found[0]['id']}" if found else None
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return None
