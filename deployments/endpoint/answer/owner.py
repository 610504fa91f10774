"""Whose request is being answered: what is kept for one key is nobody else's."""

from __future__ import annotations

from contextvars import ContextVar

OWNER: ContextVar[str | None] = ContextVar("owner", default=None)
"""The id of the request's API key, set where keys are checked; `None` without keys."""
