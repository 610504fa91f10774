"""Progress, tables and plots of a flow as Prefect artifacts and report files."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)

from models.files import staged
from tasks.setup.settings import settings


@dataclass
class Progress:
    """A progress artifact, updated at most once per percent."""

    artifact: UUID
    total: int
    done: int = 0
    shown: int = 0
    _order: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    async def start(cls, what: str, total: int) -> Progress:
        """Create a bar on the run's page, with the key `progress-<what>`; full if there is nothing to do."""
        begun = 0 if total else 100
        artifact = await acreate_progress_artifact(float(begun), key=f"progress-{what}", description=what)
        assert isinstance(artifact, UUID)
        return cls(artifact, max(total, 1), shown=begun)

    async def add(self, count: int) -> None:
        """Count `count` more as done."""
        self.done += count
        async with self._order:  # the server may take a later update before an earlier one, which would stay
            percent = min(100, int(100 * self.done / self.total))
            if percent > self.shown:
                self.shown = percent
                await aupdate_progress_artifact(self.artifact, float(percent))


async def table(key: str, rows: Sequence[Mapping[str, Any]], happened: str) -> None:
    """Add a table to the run's page; tables with equal keys form a history. `happened`: a paragraph on top, which the
    run's log has, too."""
    get_run_logger().info("%s", happened)
    await acreate_table_artifact([dict(row) for row in rows], key=key, description=happened)


async def publish(key: str, happened: str, parts: Sequence[str] = ()) -> None:
    """Add a page to the run's: first `happened`, a paragraph that says what came of the run and what to do next, which
    Prefect shows on top; then the parts, markdown. A page without parts is that paragraph. The run's log has the
    paragraph, too: it is what a run's page opens with. Without its pictures the page is a file in `reports`.
    """
    get_run_logger().info("%s", happened)
    page = ("\n\n".join(parts), happened) if parts else (happened, None)
    await acreate_markdown_artifact(page[0], key=key, description=page[1])
    words = [part for part in parts if not part.startswith("![")]
    await asyncio.to_thread(write_report, f"{key}.md", "\n\n".join([happened, *words]) + "\n")


def picture(what: str, svg: bytes) -> str:
    """An SVG as markdown."""
    return f"![{what}](data:image/svg+xml;base64,{b64encode(svg).decode()})"


def write_report(name: str, text: str) -> Path:
    """Write `<home>/reports/<name>`, atomically."""
    path = settings().home / "reports" / name
    with staged(path) as file:
        file.write(text)
    return path
