"""`python -m deployments.endpoint`: the endpoint as a process of its own, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

import uvicorn
from pydantic import ValidationError

from deployments.doors import Host, allowed
from deployments.endpoint.app import create_app
from deployments.endpoint.listening import Announcing, listen
from deployments.endpoint.logs import log_to_stderr
from deployments.endpoint.parts import DEFAULT, Options, open_parts
from models.conductor.request import Limits
from models.errors import BadInput, FuguError
from tasks.settings import settings

GRACE_S = 4
"""How long answers that are under way may take to end after SIGTERM; a supervisor kills after 5 s."""


def main() -> int:
    """Serve. A host that is not loopback, a taken port, a broken pool file: one line and exit status 2."""
    arguments = _arguments()
    os.umask(0o077)
    log_to_stderr()
    try:
        listening = listen(arguments.host, arguments.port)
        may_come = allowed(settings(), Host(arguments.host.lower(), listening.getsockname()[1]))
        options = Options(allowed=may_come, limits=_limits(arguments), observe=arguments.observe)
        app = create_app(open_parts(), options)
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
    default = DEFAULT.limits
    for name, kind in (("usd", float), ("calls", int), ("seconds", float)):
        found = getattr(default, f"max_{name}")
        words = f"of a fugu-ultra request that sets none itself (default: {'no limit' if found is None else found})"
        parser.add_argument(f"--max-{name}", type=kind, default=found, help=words)
    parser.add_argument(
        "--no-observe", dest="observe", action="store_false", help="show no fugu-ultra request in Prefect"
    )
    return parser.parse_args()


def _limits(arguments: argparse.Namespace) -> Limits:
    """Raises BadInput for a limit that is none."""
    given = {name: getattr(arguments, name) for name in ("max_usd", "max_calls", "max_seconds")}
    try:
        return Limits.model_validate({**DEFAULT.limits.model_dump(), **given})
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}") from None


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # All of ours is closed; taking torch and litellm apart would take the interpreter seconds more.
    os._exit(status)
