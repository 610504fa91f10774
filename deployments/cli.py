"""`fugu`: the commands. Each imports what it needs when it runs, so that `--help` and `status` start at once."""

from __future__ import annotations

import sys

import typer

from deployments.commands import (
    ask,
    measure,
    migrate,
    pool,
    replay,
    resume,
    rollback,
    scores,
    show,
    status,
    trinity,
    up,
)
from models.errors import FuguError

app = typer.Typer(
    help="Measure a pool of language models, learn a router over it, serve it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(up.up)
app.command()(ask.ask)
app.command()(status.status)
app.command()(measure.measure)
app.command()(rollback.rollback)
app.command()(resume.resume)
app.command()(replay.replay)
app.command()(show.show)
app.command("import-scores")(scores.import_scores)
app.command()(trinity.fetch)
app.command()(trinity.verify)
app.command()(migrate.migrate)
app.add_typer(pool.app, name="pool")


def main() -> None:
    """Run a command. An error of ours is one line and exit status 2; any other keeps its traceback."""
    try:
        app()
    except FuguError as error:
        print(f"fugu: {error}", file=sys.stderr)
        sys.exit(2)
