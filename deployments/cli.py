"""The `fugu` command line. Each command imports what it needs when it runs, so that `--help` and `status` are fast."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import typer

from deployments.commands import (
    ask,
    init,
    measure,
    migrate,
    pool,
    prefect,
    provision,
    prune,
    replay,
    resume,
    rollback,
    show,
    status,
    up,
    worker,
)
from deployments.commands.access import keys
from deployments.commands.evidence import compare, questions
from deployments.commands.routers import adopt, package, shadow, trinity
from deployments.commands.watching import doctor, logs
from deployments.home import ledger_error
from deployments.loopback import skip_proxies
from models.errors import FuguError, LedgerAway

app = typer.Typer(
    help="Measure a pool of language models, train a router over it, serve it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(up.up)
app.command()(init.init)
app.command()(ask.ask)
app.command()(status.status)
app.command()(doctor.doctor)
app.command()(measure.measure)
app.command()(rollback.rollback)
app.command()(resume.resume)
app.command()(replay.replay)
app.command()(show.show)
app.command()(logs.logs)
app.command("import-scores")(questions.import_scores)
app.command("compare-scores")(compare.compare_scores)
app.command()(trinity.fetch)
app.command()(trinity.verify)
app.command()(adopt.adopt)
app.command()(package.export)
app.command()(shadow.shadow)
app.command()(prune.prune)
app.command()(migrate.migrate)
app.command()(provision.provision)
app.command(context_settings={"allow_interspersed_args": False})(prefect.prefect)
app.add_typer(pool.app, name="pool")
app.add_typer(questions.app, name="questions")
app.add_typer(worker.app, name="worker")
app.add_typer(keys.app, name="keys")

command = typer.main.get_command(app)  # an app builds it anew for each call


_UsageError = typer.BadParameter.__mro__[1]
"""`UsageError` of the click that Typer uses: its own copy, or in earlier versions the click package."""


def main() -> None:
    """Run a command. An error that the user can fix is one line, with exit status 2; others keep their traceback."""
    os.umask(0o077)  # only the user may read what a command writes
    skip_proxies(os.environ)
    try:
        status = command(prog_name="fugu", standalone_mode=False)
    except typer.Abort:
        print("fugu: aborted", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        line = _message(error)
        if line is None:
            raise
        if line:
            print(f"fugu: {' '.join(line.split())}", file=sys.stderr)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)


def _message(error: Exception) -> str | None:
    """An error as one line; `None` for a bug of fugu; empty if everything was printed already (a command's help)."""
    if isinstance(error, LedgerAway):
        return ledger_error(error)
    if isinstance(error, FuguError):
        return str(error)
    if isinstance(error, _UsageError):
        return _usage(error)
    if isinstance(error, OSError):
        return _home_error(error)
    return ledger_error(error)


def _usage(error: Any) -> str:
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return ""
    path = "fugu" if error.ctx is None else error.ctx.command_path
    message = error.format_message().replace("Value error, ", "").rstrip(".")
    return f"{message} (see `{path} --help`)"


def _home_error(error: OSError) -> str | None:
    """The line for an error about a file in the home or about a folder above it; `None` for other files."""
    from tasks.setup.settings import settings

    home = settings().home
    if not isinstance(error.filename, str | bytes | Path):
        return None
    found = Path(os.fsdecode(error.filename))
    if not (found.is_relative_to(home) or home.is_relative_to(found)):
        return None
    return f"the home {home} cannot be used: {error.strerror}: {found}"
