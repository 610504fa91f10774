"""Addresses of this machine alone: what listens is for its owner, and what is asked is asked without a proxy."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import MutableMapping
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


def skip_proxies(environment: MutableMapping[str, str]) -> None:
    """Let calls to this machine pass by the proxies that the environment names, for all that goes by `NO_PROXY`.

    What is named there already stays: curl and Python's libraries read the variable in small letters, others do not.
    """
    named = ",".join(environment.get(name, "") for name in ("NO_PROXY", "no_proxy"))
    hosts = [host for host in (part.strip() for part in named.split(",")) if host]
    value = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost", "::1"]))
    environment.update({"NO_PROXY": value, "no_proxy": value})
