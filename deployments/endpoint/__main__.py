"""`python -m deployments.endpoint`: the endpoint as a process of its own, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import uvicorn
from pydantic import ValidationError
from sqlalchemy.exc import DatabaseError

from deployments.doors import Host, allowed
from deployments.endpoint.annex import SOCKET, Annex, Room
from deployments.endpoint.answer.aliases import read_aliases
from deployments.endpoint.app import create_app
from deployments.endpoint.bounds import Bounds
from deployments.endpoint.connections import config_of
from deployments.endpoint.decisions import DistantRouter
from deployments.endpoint.fleet import Fleet
from deployments.endpoint.listening import Announcing, is_loopback, listen, url_of
from deployments.endpoint.logs import log_to_stderr
from deployments.endpoint.parts import DEFAULT, Options, open_parts
from deployments.endpoint.watching.metrics import annex_of, share
from deployments.home import has_keys, ledger_error, secret
from deployments.loopback import skip_proxies
from deployments.migrations import is_made
from models.conductor.run.request import Limits
from models.errors import BadInput, FuguError, NotReady
from models.ledger import registry
from tasks.setup.checkpoint import MODELS
from tasks.setup.settings import load_pool, open_ledger, settings

if TYPE_CHECKING:
    from models.fugu.microbatch import MicroBatcher

log = logging.getLogger("deployments.endpoint")


def main() -> int:
    """Serve. A host that is not loopback without keys, a taken port, a broken pool file: one line and exit status 2."""
    arguments = _arguments()
    skip_proxies(os.environ)
    os.umask(0o077)
    log_to_stderr()
    _allow_files()
    unshare: Callable[[], None] = lambda: None  # noqa: E731
    try:
        _check_home()
        unshare = share(str(os.getpid()) if arguments.annex is None else annex_of(os.getppid()))
        if arguments.processes > 1 and arguments.annex is None and arguments.descriptor is None:
            command = [sys.executable, "-m", "deployments.endpoint", *sys.argv[1:], "--descriptor"]
            listening = listen(arguments.host, arguments.port, has_keys=has_keys(settings().database))
            return Fleet(command, listening, arguments.processes, arguments.announce).run()
        server, listening = (_open if arguments.annex is None else _open_annex)(arguments)
    except (FuguError, DatabaseError) as error:
        line = ledger_error(error) or (str(error) if isinstance(error, FuguError) else None)
        unshare()
        if line is None:
            raise
        print(" ".join(line.split()), file=sys.stderr)
        return 2
    # uvicorn raises the signal again when it has shut down; an ordered stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listening])
    unshare()
    if arguments.annex is not None:
        shutil.rmtree(arguments.annex, ignore_errors=True)  # the process that made it may have been killed
    return 0 if server.started else 1


def _check_home() -> None:
    """Raises NotReady, saying how to begin, for a home without a ledger; logs what `/readyz` waits for where nothing
    serves the pool yet."""
    here, pool = settings(), load_pool()
    where = "the ledger at FUGU_LEDGER_URL" if here.ledger_url else f"the home {here.home}"
    if not is_made(here.database):
        raise NotReady(f"{where} is empty: `fugu up` makes the ledger and lets a worker or a router serve")
    ledger = open_ledger()
    lacking = [model for model in MODELS if registry.champion(ledger, model) is None]
    ledger.close()
    if lacking:
        log.warning("nothing serves %s on pool %s yet: `fugu up` does that", " and ".join(lacking), pool.name)


def _open(arguments: argparse.Namespace) -> tuple[uvicorn.Server, socket.socket]:
    given, keyed = arguments.descriptor, has_keys(settings().database)
    listening = listen(arguments.host, arguments.port, has_keys=keyed) if given is None else socket.socket(fileno=given)
    if not settings().endpoint_url:
        os.environ["FUGU_ENDPOINT_URL"] = url_of(listening)  # for the links on Prefect's pages
    may_come = allowed(settings(), Host(arguments.host.lower(), listening.getsockname()[1]))
    needs_key = settings().require_key or not is_loopback(listening)
    options, parts = replace(_options(arguments), allowed=may_come, needs_key=needs_key), open_parts()
    command = [sys.executable, "-m", "deployments.endpoint", *sys.argv[1:], "--annex"]
    room = Room(total=2 * options.max_body_bytes, body=options.max_body_bytes)
    annex = Annex(command, cast("Callable[[str], MicroBatcher]", parts.load_router), room)
    config = config_of(create_app(parts, options, annex), options.patience, settings().drain_s)
    return Announcing(config, listening, arguments.announce if given is None else None), listening


def _open_annex(arguments: argparse.Namespace) -> tuple[uvicorn.Server, socket.socket]:
    """The server of an annex (`annex.py`)."""
    folder = arguments.annex
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / SOCKET))
    parts = open_parts(partial(DistantRouter, folder))
    # Hosts and origins have been checked by the other process, which has counted the request, too.
    options = replace(_options(arguments), eager=False, counts=False)
    server = uvicorn.Server(config_of(create_app(parts, options), options.patience, settings().drain_s))

    def stop_at_end_of_input() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=stop_at_end_of_input, daemon=True).start()
    return server, listening


def _allow_files() -> None:
    """Raise the limit of open files to the maximum: a connection is one, and its call upstream another."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _options(arguments: argparse.Namespace) -> Options:
    here = settings()
    bounds = Bounds(here.max_messages, here.max_fields)
    limits, observe = _limits(arguments), arguments.observe
    return Options(
        limits=limits,
        observe=observe,
        max_body_bytes=here.max_body_bytes,
        bounds=bounds,
        max_requests=here.max_requests,
        keep_margin=here.keep_margin,
        aliases=read_aliases(here.aliases),
        needs_key=here.require_key,
        secret=secret(here.home),
        freezes=True,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deployments.endpoint", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address, or any where the home has API keys")
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
    parser.add_argument("--processes", type=int, default=1, help="that answer on this port, each with its own router")
    parser.add_argument("--descriptor", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--annex", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _limits(arguments: argparse.Namespace) -> Limits:
    """Raises BadInput for an invalid limit."""
    given = {name: getattr(arguments, name) for name in ("max_usd", "max_calls", "max_seconds")}
    try:
        return Limits.model_validate({**DEFAULT.limits.model_dump(), **given})
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}") from None


if __name__ == "__main__":
    status = 1
    try:
        status = main()
    except SystemExit as stop:  # of the command line: its help, or an error in it
        status = stop.code if isinstance(stop.code, int) else 0
    except Exception:
        logging.getLogger("deployments.endpoint").exception("the endpoint has failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Everything of ours is closed; unloading torch and litellm would take the interpreter seconds more, and threads
        # of libraries could keep it from ending.
        os._exit(status)
