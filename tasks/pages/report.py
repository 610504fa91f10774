"""What people look at while a flow runs and after it: progress, tables and plots as Prefect artifacts and files."""

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
    """A progress artifact that is updated at most every percent."""

    artifact: UUID
    total: int
    done: int = 0
    shown: int = 0

    @classmethod
    async def start(cls, what: str, total: int) -> Progress:
        """A bar at 0 % in the run's page, found by the key `progress-<what>`."""
        artifact = await acreate_progress_artifact(0.0, key=f"progress-{what}", description=what)
        assert isinstance(artifact, UUID)
        return cls(artifact, max(total, 1))

    async def add(self, count: int) -> None:
        """`count` more are done."""
        self.done += count
        percent = int(100 * self.done / self.total)
        if percent > self.shown:
            self.shown = percent
            await aupdate_progress_artifact(self.artifact, float(min(percent, 100)))


async def table(key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """A table in the run's page; equal keys make a history."""
    await acreate_table_artifact([dict(row) for row in rows], key=key, description=description)


async def markdown(key: str, text: str, description: str, pictures: Sequence[bytes] = ()) -> None:
    """A page of markdown in the run's page, below it the pictures (SVG), and the text as a file in `reports`."""
    shown = "\n\n".join([text, *(f"![{key}](data:image/svg+xml;base64,{b64encode(p).decode()})" for p in pictures)])
    await acreate_markdown_artifact(shown, key=key, description=description)
    await asyncio.to_thread(write_report, f"{key}.md", text)


async def coverage_artifact(frame: pd.DataFrame) -> None:
    """The label coverage of each worker, as a table."""
    await table(
        "label-coverage",
        [{str(k): v for k, v in row.items()} for row in frame.round(3).to_dict("records")],
        "Labels: wanted, measured, missing, mean score",
    )


async def comparison_artifacts(
    tables: Mapping[str, Sequence[Entry]], workers: Sequence[str], lines: Sequence[str], key: str = "comparison"
) -> None:
    """The comparison: a table per group of questions, a plot, and the gate's lines; in the UI and in `reports`."""
    pages, pictures = [], []
    for number, (group, entries) in enumerate(tables.items()):
        rows = comparison(entries, workers)
        await table(f"{key}-{number + 1}", [_flat(row) for row in rows], group)
        picture = await asyncio.to_thread(plot, rows, group)
        await asyncio.to_thread(write_report, f"{key}-{number + 1}.svg", picture.decode())
        pictures.append(picture)
        pages.append(f"## {group} (n = {rows[0]['n']})\n\n{comparison_markdown(rows)}")
    pages.append("## Who serves\n\n" + "\n".join(f"- {line}" for line in lines) + "\n")
    await markdown(key, "\n".join(pages), "Routers against every rival, on held-out questions", pictures)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    shares = ", ".join(f"{worker} {share:.0%}" for worker, share in row["shares"].items() if share >= 0.005)
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items() if k != "shares"} | {"shares": shares}


def write_report(name: str, text: str) -> Path:
    """Write `<home>/reports/<name>`, atomically."""
    path = settings().home / "reports" / name
    with staged(path) as file:
        file.write(text)
    return path
