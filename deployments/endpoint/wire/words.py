"""Errors and traces as a client may read them: without a path, traceback, header or key of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

TRACEBACK = re.compile(r"\s*Traceback \(most recent call last\).*", re.DOTALL)
FRAME = re.compile(r'\s*File "[^"\n]*", line \d+[^\n]*')
SECRET = re.compile(
    r"(?i)\b(authorization|(?:api|auth|access)[-_ ]?(?:key|token)|(?:set-)?cookie|x-[a-z]+(?:-[a-z]+)*)"
    r"""(['"]?\s*[:=]\s*['"]?)(?:(?:bearer|basic)\s+)?[^\s'",;}]+"""
)
BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
KEY = re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf|ghp|AIza)[-_]?[A-Za-z0-9_-]{16,}")
PATH = re.compile(r"""(?<![\w/.<>}\])-])(?:file:/*|~)?/(?:[^\s/'",:;()<>]+/)+[^\s/'",:;()<>]*""")
"""A path of at least two names: not the rest of a URL (`http://host/v1/chat`), nor `and/or`."""

ELLIPSIS = "…"


def plain(text: str) -> str:
    """The text without paths, tracebacks, headers and keys."""
    text = FRAME.sub("", TRACEBACK.sub("", text))
    text = SECRET.sub(lambda found: f"{found[1]}{found[2]}{ELLIPSIS}", text)
    text = KEY.sub(ELLIPSIS, BEARER.sub(lambda found: f"{found[1]} {ELLIPSIS}", text))
    return PATH.sub(ELLIPSIS, text).strip()


def traced(trace: Mapping[str, Any]) -> dict[str, Any]:
    """A conducted request's trace for its client: the plan writer's name and errors are made `plain`."""
    rounds = [
        {**shown, "policy": plain(str(shown.get("policy", ""))), "steps": [_step(step) for step in shown["steps"]]}
        for shown in trace["rounds"]
    ]
    lost = [{**call, "error": _plain(call.get("error"))} for call in trace["maybe_paid"]]
    return {**trace, "rounds": rounds, "maybe_paid": lost}


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    nested = step["conducted"]
    shown = None if nested is None else traced({"maybe_paid": [], **nested})
    return {**step, "error": _plain(step["error"]), "conducted": shown}


def _plain(text: str | None) -> str | None:
    return None if text is None else plain(text)
