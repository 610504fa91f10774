"""`python -m deployments.endpoint`: the endpoint as a process of its own, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

import uvicorn

from deployments.endpoint.app import create_app
from deployments.endpoint.listening import Announcing, listen
from deployments.endpoint.logs import log_to_stderr
from deployments.endpoint.parts import DEFAULT, Options, open_parts
from models.errors import FuguError

GRACE_S = 4
"""How long answers that are under way may take to end after SIGTERM; a supervisor kills after 5 s."""


def main() -> int:
    """Serve. A host that is not loopback, a taken port, a broken pool file: one line and exit status 2."""
    arguments = _arguments()
    log_to_stderr()
    try:
        listening = listen(arguments.host, arguments.port)
        hosts = DEFAULT.hosts | {arguments.host.lower(), listening.getsockname()[0]}
        app = create_app(open_parts(), Options(hosts=hosts))
    except FuguError as error:
        print(error, file=sys.stderr)
        return 2
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_S
    )
    server = Announcing(config, listening, arguments.announce)
    # uvicorn raises the signal again when it has shut down; a stop that was asked for is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listening])
    return 0 if server.started else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deployments.endpoint", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--announce", type=Path, help="a JSON file, written when requests are taken: url, pid")
    return parser.parse_args()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # All of ours is closed; taking torch and litellm apart would take the interpreter seconds more.
    os._exit(status)
