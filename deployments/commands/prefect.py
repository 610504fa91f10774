"""`fugu prefect`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from deployments.commands.options import Home


def prefect(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="-- ARGS", help="Arguments of `prefect`.")] = None,
    home: Home = None,
) -> None:
    """Run Prefect's command line against the running `fugu up`: `fugu prefect -- deployment ls`."""
    from deployments.home import find_note
    from deployments.server import environment
    from tasks.setup.settings import settings

    here = settings()
    words = [sys.executable, "-m", "prefect", *(arguments or ["--help"])]
    os.execve(sys.executable, words, environment(here, find_note(here.home).prefect))
