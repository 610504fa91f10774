"""Addresses of this machine alone: there are no keys yet that would keep strangers out of what listens here."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from models.errors import BadInput


def address(host: str, port: int, what: str) -> tuple[socket.AddressFamily, Any]:
    """The family and the address to bind. Raises BadInput, beginning with `what`, for a host that is not loopback."""
    try:
        family, _, _, _, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise BadInput(f"{what}: {error.strerror}", "host") from None
    if not ipaddress.ip_address(found[0]).is_loopback:
        raise BadInput(f"{what} is not loopback; the endpoint serves its own machine only", "host")
    return family, found
