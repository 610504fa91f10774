"""Who may see what of the endpoint's own pages."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from enum import IntEnum

from starlette.requests import Request

from deployments.doors import LOOPBACK, Host
from deployments.endpoint.access.gate import caller_of

OF_A_PROXY = ("forwarded", "via", "x-forwarded-for", "x-real-ip")
"""Headers of a request that another program has passed on for somebody."""


class Sight(IntEnum):
    """Each level includes those before it. `FIGURES`: ids, names, times and costs; `TEXTS`: also what was said."""

    NOTHING = 0
    FIGURES = 1
    TEXTS = 2


Sees = Callable[[Request], Awaitable[Sight]]
"""What the sender of a request may see; host and origin have been checked (`deployments/doors.py`). One who may see
nothing is asked for a password (401, Basic)."""


async def by_key(request: Request) -> Sight:
    """Texts for a key with the scope `admin`, figures for the others, whose scopes have been checked at the gate."""
    caller = caller_of(request.scope)
    if caller.key is None:
        return await without_keys(request)
    return Sight.TEXTS if "admin" in caller.policy.scopes else Sight.FIGURES


async def without_keys(request: Request) -> Sight:
    """Where there are no keys: texts for who opens the page on this machine, figures for everybody else."""
    address = request.client.host if request.client else ""
    host = Host.read(request.headers.get("Host", ""))
    here = _is_loopback(address) and host is not None and _is_loopback(host.name)
    # Prefect's UI, on another port of this machine, links to the pages.
    by_itself = request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin", "same-site")
    passed_on = any(name in request.headers for name in OF_A_PROXY)
    return Sight.TEXTS if here and by_itself and not passed_on else Sight.FIGURES


def _is_loopback(name: str) -> bool:
    if name in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
