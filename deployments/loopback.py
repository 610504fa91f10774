"""Loopback addresses: without API keys ports are bound only to this machine, and calls to it bypass HTTP proxies."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import certifi

from models.errors import BadInput
from models.files import staged


def address(host: str, port: int, what: str, *, has_keys: bool = False) -> tuple[socket.AddressFamily, Any]:
    """Family and address to bind. Raises BadInput, its message prefixed by `what`, for a host that is not loopback
    where the home has no key, so that every machine could use it.
    """
    try:
        family, _, _, _, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise BadInput(f"{what}: {error.strerror}", "host") from None
    if not has_keys and not ipaddress.ip_address(found[0]).is_loopback:
        message = "is not loopback, and this home has no API key: `fugu keys create NAME` makes one"
        raise BadInput(f"{what} {message}", "host")
    return family, found


def skip_proxies(environment: MutableMapping[str, str]) -> None:
    """Add the loopback addresses to `NO_PROXY`, so that calls to this machine bypass the environment's proxies.

    Existing entries stay. Both spellings are set: curl and Python's libraries read `no_proxy`, others `NO_PROXY`.
    """
    named = ",".join(environment.get(name, "") for name in ("NO_PROXY", "no_proxy"))
    hosts = [host for host in (part.strip() for part in named.split(",")) if host]
    value = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost", "::1"]))
    environment.update({"NO_PROXY": value, "no_proxy": value})


def one_certificate(file: Path) -> Path:
    """The file, which holds the first of certifi's certificates; it is written if it does not.

    For clients that read a file of certificates and then speak with this machine alone, without TLS. Prefect makes two
    clients for each flow run and task, and each would read all 140 certificates: 40 ms of CPU time instead of 1.
    """
    text, end = certifi.contents(), "-----END CERTIFICATE-----\n"
    first = text[text.index("-----BEGIN") : text.index(end) + len(end)]
    if not file.exists() or file.read_text(encoding="ascii", errors="replace") != first:
        with staged(file) as opened:
            opened.write(first)
    return file
