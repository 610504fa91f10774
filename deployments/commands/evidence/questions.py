"""`fugu questions check`, `fugu questions fetch` and `fugu import-scores`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.commands.options import Home, PoolName, PresetName

app = typer.Typer(help="Files of questions.", no_args_is_help=True)


@app.callback()
def _questions() -> None:
    """Files of questions."""


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A JSONL file.")],
    pool: PoolName = None,
    preset: PresetName = None,
    home: Home = None,
) -> None:
    """Say what a file of questions is worth: splits, graders, repetitions, intervals, and the cost on the pool."""
    from deployments.estimate import estimate_cost
    from deployments.migrations import upgrade
    from tasks.setup.review import review
    from tasks.setup.settings import load_pool, open_ledger, settings

    looked = review(file)
    here = settings().model_copy(update={"questions": str(file.resolve())})
    workers = load_pool()
    upgrade(here.database)
    ledger = open_ledger()
    missing = estimate_cost(here, workers, ledger)
    ledger.close()
    for line in looked.text(str(file), f"on pool {workers.name!r}, preset {here.preset!r}: {missing.line}"):
        typer.echo(line)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A benchmark or a mix of data/catalog.yaml: gsm8k, trinity, …")],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Read the hub's files from this folder; for a mix, a folder for each benchmark."),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(help="The file to write.", show_default="NAME.jsonl in the folder benchmarks of the home"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The most questions, chosen by a hash of their ids.")] = None,
    home: Home = None,
) -> None:
    """Fetch a public benchmark, or a mix of several, as a file of questions."""
    from models.errors import BadFile
    from tasks.benchmarks.fetch import fetch_questions
    from tasks.setup.settings import settings

    here = settings()
    if source is not None and not source.is_dir():
        raise BadFile(source, "is no folder")
    target = here.home / "benchmarks" / f"{name}.jsonl" if to is None else to.resolve()
    try:
        done = fetch_questions(here.data / "catalog.yaml", name, target, source, limit)
    except OSError as error:
        raise BadFile(target, f"cannot be written: {error.strerror or error}") from None
    for note in done.notes:
        typer.echo(note)
    splits = ", ".join(f"{count} {split}" for split, count in done.splits.items())
    typer.echo(f"{done.count} questions ({splits}): {done.path}")


def import_scores(
    file: Annotated[Path, typer.Argument(help="JSONL: id, task, question, scores {worker: 0..1}; or see --format.")],
    name: Annotated[str | None, typer.Option(help="Name of the pool.", show_default="the file's")] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="own, routerbench, routerarena, routerdc, llmrouter, zeroeval, mmlu-pro (a file or a folder).",
            show_default="found by the fields",
        ),
    ] = None,
    home: Home = None,
) -> None:
    """Import scores as labels of recorded workers: a router can learn from them, but they cannot be asked."""
    from deployments.migrations import upgrade
    from tasks.setup.scores import import_scores as import_file
    from tasks.setup.settings import open_ledger, settings

    upgrade(settings().database)
    stem = Path(file.stem).stem if file.suffix == ".gz" else file.resolve().stem
    done = import_file(file.resolve(), stem if name is None else name, open_ledger(), form)
    typer.echo(f"{done.count} questions with the scores of {len(done.workers)} workers: pool {done.pool}")
    for note in done.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"questions {done.questions}")
