"""Prune: every day, drop what is too old, or too much, of the texts that served requests left behind."""

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
    dry_run: bool = Field(False, description="only say what would go"),
) -> dict[str, Any]:
    """How many of each lost their texts. Figures stay, and so does all that labels are made of."""
    ledger = open_ledger()
    try:
        found = await asyncio.to_thread(drop_old, settings(), ledger, days, most, dry_run=dry_run)
    finally:
        ledger.close()
    row = {**found, "until": found["until"].isoformat()}
    await table("pruned", [row], "Served requests whose texts were dropped")
    return row
