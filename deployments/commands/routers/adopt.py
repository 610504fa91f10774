"""`fugu adopt`: a router from elsewhere, TRINITY's released one or a package."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deployments.commands.options import Backbone, Home, PoolName, PresetName
from deployments.commands.routers import package, trinity


class Served(StrEnum):
    """The models that a router can serve (Typer takes no other type for a list of choices)."""

    FUGU = "fugu"
    TRINITY = "trinity"


def adopt(
    what: Annotated[str, typer.Argument(help="`trinity`, or the file of a package, which `fugu export` makes.")],
    workers: Annotated[
        str,
        typer.Option(
            help="For trinity: seven workers of the pool, separated by commas, in the order of the router's own agents."
        ),
    ] = "",
    fugu: Annotated[
        bool, typer.Option("--fugu", help="For trinity: let it serve the model `fugu`, too, not `trinity` alone.")
    ] = False,
    digest: Annotated[
        str | None, typer.Option(help="For a package: refuse any other than the one with this digest (sha256:…).")
    ] = None,
    serve: Annotated[
        list[Served] | None,
        typer.Option(help="For a package: let it serve this model at once; may be given twice."),
    ] = None,
    backbone: Backbone = None,
    preset: PresetName = None,
    pool: PoolName = None,
    home: Home = None,
) -> None:
    """Take in a router from elsewhere: TRINITY's released one, or a package. `fugu rollback` goes back.

    The released one is verified and serves `trinity` over seven workers of the pool. Without `--workers` the pool needs
    workers with the names of the router's own agents. A package is checked, and its router is a candidate: it serves
    where `--serve` says so. No gate is asked.
    """
    if what == "trinity":
        if digest or serve or backbone:
            raise typer.BadParameter("--digest, --serve and --backbone are for packages: trinity has its own")
        trinity.seat(workers, fugu)
        return
    if workers or fugu:
        raise typer.BadParameter("--workers and --fugu are for trinity: a package names its workers (--serve fugu)")
    package.take(Path(what), digest, tuple(dict.fromkeys(model.value for model in serve or ())))
