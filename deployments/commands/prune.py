"""`fugu prune`."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.commands.options import Home

NAMES = {"calls": "calls", "requests": "requests", "workflows": "workflows", "tool_calls": "tool calls"}


def prune(
    days: Annotated[float | None, typer.Option(min=0, help="Instead of FUGU_KEEP_DAYS.")] = None,
    most: Annotated[int | None, typer.Option("--bytes", min=0, help="Instead of FUGU_KEEP_BYTES.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    home: Home = None,
) -> None:
    """Drop the texts of served requests that are too old, or too many; their figures, and what labels need, stay."""
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
    typer.echo(f"{found['results']} results of Prefect {'would be' if dry_run else 'were'} removed")
