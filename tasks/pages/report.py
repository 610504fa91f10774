"""Progress, tables and plots of a flow as Prefect artifacts and report files."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)

from models.evaluation.metrics import Entry
from models.evaluation.plot import plot
from models.evaluation.table import markdown as comparison_markdown
from models.evaluation.table import table as comparison
from models.files import staged
from tasks.setup.settings import settings


@dataclass
class Progress:
    """A progress artifact, updated at most once per percent."""

    artifact: UUID
    total: int
    done: int = 0
    shown: int = 0

    @classmethod
    async def start(cls, what: str, total: int) -> Progress:
        """Create a bar at 0 % on the run's page, with the key `progress-<what>`."""
        artifact = await acreate_progress_artifact(0.0, key=f"progress-{what}", description=what)
        assert isinstance(artifact, UUID)
        return cls(artifact, max(total, 1))

    async def add(self, count: int) -> None:
        """Count `count` more as done."""
        self.done += count
        percent = int(100 * self.done / self.total)
        if percent > self.shown:
            self.shown = percent
            await aupdate_progress_artifact(self.artifact, float(min(percent, 100)))


async def table(key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """Add a table to the run's page; tables with equal keys form a history."""
    await acreate_table_artifact([dict(row) for row in rows], key=key, description=description)


async def markdown(key: str, text: str, description: str, pictures: Sequence[bytes] = ()) -> None:
    """Add markdown and SVG pictures to the run's page, and write the text to a file in `reports`."""
    shown = "\n\n".join([text, *(f"![{key}](data:image/svg+xml;base64,{b64encode(p).decode()})" for p in pictures)])
    await acreate_markdown_artifact(shown, key=key, description=description)
    await asyncio.to_thread(write_report, f"{key}.md", text)


async def coverage_artifact(frame: pd.DataFrame) -> None:
    """Add a table of each worker's label coverage."""
    await table(
        "label-coverage",
        [{str(k): v for k, v in row.items()} for row in frame.round(3).to_dict("records")],
        "Labels: wanted, measured, missing, mean score",
    )


async def comparison_artifacts(
    tables: Mapping[str, Sequence[Entry]], workers: Sequence[str], lines: Sequence[str], key: str = "comparison"
) -> None:
    """Publish a comparison in the UI and in `reports`: table and plot per group of questions, and the gate's lines."""
    pages, pictures = [], []
    for number, (group, entries) in enumerate(tables.items()):
        rows = comparison(entries, workers)
        await table(f"{key}-{number + 1}", [_flat(row) for row in rows], group)
        picture = await asyncio.to_thread(plot, rows, group)
        await asyncio.to_thread(write_report, f"{key}-{number + 1}.svg", picture.decode())
        pictures.append(picture)
        pages.append(f"## {group} (n = {rows[0]['n']})\n\n{comparison_markdown(rows)}")
    pages.append("## Champions\n\n" + "\n".join(f"- {line}" for line in lines) + "\n")
    await markdown(key, "\n".join(pages), "Routers against all baselines, on held-out questions", pictures)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    shares = ", ".join(f"{worker} {share:.0%}" for worker, share in row["shares"].items() if share >= 0.005)
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items() if k != "shares"} | {"shares": shares}


def write_report(name: str, text: str) -> Path:
    """Write `<home>/reports/<name>`, atomically."""
    path = settings().home / "reports" / name
    with staged(path) as file:
        file.write(text)
    return path
