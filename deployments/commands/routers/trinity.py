"""`fugu fetch`, `fugu verify`: TRINITY's released router, which is not part of this project, and how it is adopted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deployments.commands.options import Home

if TYPE_CHECKING:
    from models.fugu.released import Verification

Released = Annotated[Literal["trinity"], typer.Argument(help="The released router.")]


def fetch(what: Released, home: Home = None) -> None:
    """Download the released vector, its backbone and its test cases from their public sources, at pinned revisions."""
    from models.fugu import released
    from tasks.setup.settings import settings

    here = settings()
    typer.echo(f"downloaded to {released.fetch(here.data / 'catalog.yaml', here.home, typer.echo)}")


def verify(what: Released, home: Home = None) -> None:
    """Run the released cases on the released router. Exit status 1 if fewer are right than in the reference run."""
    from models.fugu import released
    from tasks.setup.settings import settings

    here = settings()
    _told(released.verify(here.data / "catalog.yaml", here.home))


def seat(workers: str, fugu: bool) -> None:
    """Let it serve, once it is verified. `workers`: as `adopt` takes them; `fugu`: whether that model, too."""
    from deployments.migrations import upgrade
    from models.errors import RecordedWorker
    from models.fugu import released
    from models.ledger import registry
    from models.workers.pool import Pool
    from tasks.setup.settings import open_ledger, pool_path, settings

    here, chosen = settings(), Pool.load(pool_path())
    catalog = here.data / "catalog.yaml"
    names = [name.strip() for name in workers.split(",") if name.strip()] or list(released.agents(catalog))
    chosen.mask(names)  # raises for a name that it does not have
    if unasked := [name for name in names if chosen.worker(name).is_recorded]:
        raise RecordedWorker(f"{', '.join(unasked)}: known from recorded scores only, and cannot be asked")
    router = released.router_of(catalog, here.home, names)
    _told(released.tried(router, catalog, here.home))
    upgrade(here.database)
    ledger = open_ledger()
    meta = {"kind": "released", "pool": chosen.name, "backbone": f"{released.NAME}/backbone"}
    checkpoint = registry.save_checkpoint(
        ledger, name=f"released {released.NAME}", vector=router.vector, meta=router.meta | meta
    )
    for served in ("trinity", "fugu") if fugu else ("trinity",):
        registry.promote(ledger, served, {"kind": "router", "checkpoint": checkpoint}, "adopted: the released router")
        typer.echo(f"{served} is served by the released router over {', '.join(names)}")


def _told(found: Verification) -> None:
    """Print it. Raises Exit (status 1) if it is not faithful."""
    typer.echo(f"{found.cases} cases: worker right in {found.workers}, role in {found.roles}, both in {found.both}")
    if found.others:
        typer.echo(
            f"differing decisions: {', '.join(found.others)} (known in float32: {found.known[0]} workers, ", nl=False
        )
        typer.echo(f"{found.known[1]} roles right)")
    if not found.faithful:
        raise typer.Exit(1)
