"""`fugu prune`."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.commands.options import Home

NAMES = {
    "calls": "calls",
    "requests": "requests",
    "workflows": "workflows",
    "tool_calls": "tool calls",
    "responses": "responses",
}


def prune(
    days: Annotated[float | None, typer.Option(min=0, help="Instead of FUGU_KEEP_DAYS.")] = None,
    most: Annotated[int | None, typer.Option("--bytes", min=0, help="Instead of FUGU_KEEP_BYTES.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be removed.")] = False,
    home: Home = None,
) -> None:
    """Remove the texts of served requests beyond the age or size limit; figures and the texts of labels stay."""
    from deployments.migrations import upgrade
    from tasks.setup.retention import drop_old
    from tasks.setup.settings import open_ledger, settings

    here = settings()
    upgrade(here.database)
    ledger = open_ledger()
    found = drop_old(here, ledger, days, most, dry_run=dry_run)
    ledger.close()
    counts = ", ".join(f"{found[key]} {name}" for key, name in NAMES.items())
    verb = "would lose" if dry_run else "lost"
    typer.echo(f"until {found['until']:%Y-%m-%d %H:%M:%S} UTC: {counts} {verb} their texts, {found['bytes']:,} bytes")
    typer.echo(f"{found['results']} Prefect result files {'would be' if dry_run else 'were'} removed")
