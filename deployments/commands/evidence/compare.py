"""`fugu compare-scores`: whether a router would be worth its place, from recorded scores alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.commands.options import Home


def compare_scores(
    file: Annotated[Path, typer.Argument(help="Recorded scores, in any form that import-scores takes.")],
    backbone: Annotated[str, typer.Option(help="What reads the questions: a folder or a hub's name.")],
    test: Annotated[
        Path | None, typer.Option(help="Learn from FILE, compare on these scores of the same workers, without folds.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="As for import-scores.", show_default="found by the fields")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Each is held out once; those of one text stay together.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="How often the folds are dealt, or the rivals fitted.")] = 3,
    unseen: Annotated[bool, typer.Option(help="Leave each task out once, too.")] = True,
    curve: Annotated[bool, typer.Option(help="Fit on fewer train questions, too. Only with folds.")] = True,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report.", show_default="reports/NAME in the home")
    ] = None,
    home: Home = None,
) -> None:
    """Compare routers with every rival on recorded scores, out of fold and on tasks left out. No server is started."""
    from models.evaluation.perturbations import KINDS
    from tasks.comparing.deciding import latencies
    from tasks.comparing.page import lines, verdict, write
    from tasks.comparing.recorded import read_recorded
    from tasks.comparing.study import Study, in_folds, in_two, left_out
    from tasks.comparing.study import curve as learned
    from tasks.setup.settings import settings

    cache = settings().home / "states"
    numbers = list(range(seeds))
    here = tuple(KINDS) if test is None else ()
    data = read_recorded(file.resolve(), form, backbone, cache, here)
    if data.left_out:
        typer.echo(f"note: {data.left_out} questions are left out: not every worker saw them", err=True)
    if test is None:
        tested, contests = data, in_folds(data, folds, numbers, _told)
    else:
        tested = read_recorded(test.resolve(), form, backbone, cache, tuple(KINDS)).of(data.workers)
        if both := data.shared(tested):
            typer.echo(f"note: {both} texts of {file.name} are left out: {test.name} has them, too", err=True)
        contests = in_two(data, tested, numbers, _told)
    points = learned(data, folds, numbers, _told) if curve and test is None else []
    unseen_tasks = left_out(data, _told) if unseen else {}
    of = latencies(data, tested, backbone), data.overlap(tested)
    study = Study(data.workers, tested.part.tasks, contests, unseen_tasks, points, *of)
    name = file.name.removesuffix(".gz").removesuffix(".jsonl")
    page = write(study, name, (settings().home / "reports" / name if out is None else out).resolve())
    typer.echo(verdict(study))
    for line in lines(study):
        typer.echo(line)
    typer.echo(f"report {page}")


def _told(what: str) -> None:
    typer.echo(what, err=True)
