"""Remove the texts of served requests that exceed the age or size limit of a home."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from models.ledger.retention import prune
from models.ledger.store import Ledger
from tasks.setup.settings import Settings


def drop_old(
    here: Settings, ledger: Ledger, days: float | None = None, most: int | None = None, *, dry_run: bool = False
) -> dict[str, Any]:
    """Remove texts; returns counts of ledger rows (see `Dropped`) and `results`, the Prefect files removed.

    `days` and `most` (bytes) override the settings.
    """
    age = timedelta(days=here.keep_days if days is None else days)
    dropped = prune(ledger, age, here.keep_bytes if most is None else most, dry_run=dry_run)
    results = _old_results(here.home / "prefect" / "storage", time.time() - age.total_seconds())
    if not dry_run:
        for file in results:
            file.unlink(missing_ok=True)
    return {**asdict(dropped), "results": len(results)}


def _old_results(folder: Path, before: float) -> list[Path]:
    """Persisted task results older than `before`: ids and figures, which can be recomputed from the ledger."""
    files = (path for path in folder.glob("**/*") if path.is_file()) if folder.is_dir() else ()
    return [path for path in files if path.stat().st_mtime < before]
