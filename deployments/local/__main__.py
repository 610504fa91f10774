"""`python -m deployments.local local/NAME`: one local model as a process of its own, until SIGTERM or Ctrl-C.

It serves OpenAI's chat completions on a free loopback port, to callers that know its key. `fugu up` starts one for each
local model of the pool, `fugu worker serve` by itself.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import sys
from pathlib import Path

import uvicorn

from deployments.endpoint.connections import Patience, config_of
from deployments.endpoint.listening import listen, url_of
from deployments.endpoint.logs import log_to_stderr
from models.errors import BadInput, FuguError
from models.workers.local import Note, held, leave
from tasks.setup.home import private_home
from tasks.setup.settings import local_notes, settings

GRACE_S = 1.0
"""Limit for answers under way to end after SIGTERM."""

log = logging.getLogger("deployments.local")


def main() -> int:
    """Serve. A model that cannot be loaded, or that another process serves: one line and exit status 2."""
    arguments = _arguments()
    log_to_stderr()
    private_home(settings().home)
    try:
        with held(local_notes(), arguments.model) as ours:
            if not ours:
                raise BadInput(f"{arguments.model} is already served by another process of this home", "model")
            return _serve(arguments.model, arguments.queue, local_notes())
    except FuguError as error:
        print(error, file=sys.stderr)
        return 2


def _serve(model: str, queue: int, notes: Path) -> int:
    from deployments.local.app import LocalApp, template_of
    from deployments.local.files import model_folder
    from deployments.local.generation import LanguageModel

    loaded = LanguageModel.load(model_folder(model, settings().home))
    listening, key = listen("127.0.0.1", 0), secrets.token_urlsafe(32)
    app = LocalApp(model, loaded, key, queue).app()
    server = uvicorn.Server(config_of(app, Patience(), GRACE_S))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises the signal again when it has shut down
    leave(notes, Note(model, f"{url_of(listening)}/v1", key, os.getpid(), template_of(loaded)))
    log.info("%s is served", model)
    server.run(sockets=[listening])
    return 0 if server.started else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deployments.local", description=__doc__)
    parser.add_argument("model", help="as in a pool file: local/NAME")
    parser.add_argument("--queue", type=int, default=64, help="how many requests may wait; further ones get a 429")
    return parser.parse_args()


if __name__ == "__main__":
    status = 1
    try:
        status = main()
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0
    except Exception:
        log.exception("the local model has failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # a generation under way, and unloading torch, would keep the interpreter
