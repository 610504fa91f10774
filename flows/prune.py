"""Remove the texts of served requests that exceed the age or size limit; scheduled daily."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import Field

from tasks.pages.report import table
from tasks.quiet import flow
from tasks.setup.retention import drop_old
from tasks.setup.settings import open_ledger, settings

COUNTED = ("requests", "calls", "workflows", "tool_calls", "responses")
"""Of what lost its texts, what the page counts."""


@flow(name="prune", flow_run_name="prune")
async def prune(
    days: float | None = Field(None, ge=0, description="instead of FUGU_KEEP_DAYS"),
    most: int | None = Field(None, ge=0, description="bytes, instead of FUGU_KEEP_BYTES"),
    dry_run: bool = Field(False, description="only report what would be removed"),
) -> dict[str, Any]:
    """Returns how many rows of each table lost their texts. Figures and the texts of labels stay."""
    ledger = open_ledger()
    try:
        found = await asyncio.to_thread(drop_old, settings(), ledger, days, most, dry_run=dry_run)
    finally:
        ledger.close()
    row = {**found, "until": found["until"].isoformat(timespec="seconds")}
    await table("pruned", [row], _happened(row, dry_run))
    return row


def _happened(row: dict[str, Any], dry_run: bool) -> str:
    """What the page says: how much of what, and how to keep more or less."""
    parts = [f"{name.replace('_', ' ')} ({row[name]:,})" for name in COUNTED if row[name]]
    verb = "would lose" if dry_run else "lost"
    what = f"{', '.join(parts)} {verb} their texts, {row['bytes']:,} bytes" if parts else "Nothing is old enough"
    return (
        f"{what}: requests from before {row['until'].replace('T', ' ')} keep no texts. Figures and labels stay. "
        "`FUGU_KEEP_DAYS` and `FUGU_KEEP_BYTES` say how much is kept; `dry_run` only counts."
    )
