"""The starter set of the catalogue: questions to begin with, copied beside the pool so that more can be added."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from models.files import read_text, read_yaml, staged
from tasks.setup.settings import Settings


class Starter(BaseModel):
    """The entry `starter` of the catalogue. `questions`: a path in the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    questions: str
    about: str


def starter(here: Settings) -> tuple[Path, str]:
    """The file of the starter set, and what it is about. Raises BadFile."""
    entry = read_yaml(here.data / "catalog.yaml").entry(Starter, "starter", "entry")
    return here.data / entry.questions, entry.about


def copy(source: Path, target: Path) -> None:
    """Write a copy. Raises BadFile, OSError."""
    text = read_text(source)
    with staged(target) as file:
        file.write(text)
