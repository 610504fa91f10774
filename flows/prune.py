"""Remove the texts of served requests that exceed the age or size limit; scheduled daily."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import Field

from tasks.pages.report import table
from tasks.quiet import flow
from tasks.setup.retention import drop_old
from tasks.setup.settings import open_ledger, settings


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
    row = {**found, "until": found["until"].isoformat()}
    verb = "would be removed" if dry_run else "were removed"
    await table("pruned", [row], f"Texts from before {row['until']} {verb}, of so many rows; figures and labels stay.")
    return row
