"""The socket that the endpoint listens on, and the announcement of its URL."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from deployments import loopback
from models.errors import BadInput


def listen(host: str, port: int, *, has_keys: bool = False) -> socket.socket:
    """A listening socket. Port 0 takes a free one.

    Raises BadInput, with the value and the flag, for a host that is not loopback where the home has no key, and for a
    port that cannot be bound.
    """
    family, address = loopback.address(host, port, f"--host {host}", has_keys=has_keys)
    # The protocol has to be named: asyncio disables Nagle's algorithm (0.04 s an answer) only where it is TCP.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(2048)
    except OSError as error:
        listening.close()
        reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had: {error.strerror}"
        raise BadInput(f"port {port} {reason}; choose another with --port (0 takes a free one)", "port") from None
    return listening


def url_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine can connect."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def announce(url: str, file: Path | None, processes: Sequence[int] = ()) -> None:
    """A line of JSON on stdout and, if named, in a file: the URL, this process, and those that answer if they are
    others."""
    said = {"url": url, "pid": os.getpid(), **({"processes": list(processes)} if processes else {})}
    word = json.dumps(said) + "\n"
    if file is not None:
        partial = file.with_name(file.name + ".partial")
        partial.write_text(word)
        partial.replace(file)
    print(word, end="", flush=True)


class Announcing(uvicorn.Server):
    """Announces its URL when it accepts requests."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket, file: Path | None) -> None:
        super().__init__(config)
        self._url, self._file = url_of(listening), file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            announce(self._url, self._file)
