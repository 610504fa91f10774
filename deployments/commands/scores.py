"""`fugu import-scores`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.commands.options import Home


def import_scores(
    file: Annotated[Path, typer.Argument(help="JSONL: id, task, question, scores {worker: score in [0, 1]}.")],
    name: Annotated[str | None, typer.Option(help="Name of the pool.", show_default="the file's")] = None,
    home: Home = None,
) -> None:
    """Import scores as labels of recorded workers: a router can learn from them, but they cannot be asked."""
    from deployments.migrations import upgrade
    from tasks.setup.scores import import_scores as import_file
    from tasks.setup.settings import open_ledger, settings

    upgrade(settings().database)
    done = import_file(file.resolve(), file.stem if name is None else name, open_ledger())
    typer.echo(f"{done.count} questions with the scores of {len(done.workers)} workers: pool {done.pool}")
    typer.echo(f"questions {done.questions}")
