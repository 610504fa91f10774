"""The catalogue's benchmarks and mixes (data/catalog.yaml)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.errors import BadFile, BadInput
from models.files import Document, read_yaml
from models.grading.benchmarks.loaders import LOADERS
from models.grading.grade import GRADERS

Pool = Literal["train", "validation", "test", "all"]
"""Our split of a file's rows; `all`: the publisher has none, and they are dealt."""


class Benchmark(BaseModel):
    """One benchmark. `hub`: the dataset's id; `revision`: its pinned commit, null where nobody has checked one;
    `files`: patterns of its files by split; `columns`: role to column; `harness`: the command that runs it, where a
    loader cannot; `notes`: what is left out, and what differs from the publisher's grading."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    licence: str
    hub: str = ""
    config: str = ""
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    gated: bool = False
    loader: str = ""
    grader: str = ""
    columns: dict[str, str] = Field(default_factory=dict)
    files: dict[Pool, list[str]] = Field(default_factory=dict)
    harness: str = ""
    notes: str = ""

    @model_validator(mode="after")
    def _can_be_fetched(self) -> Benchmark:
        if self.harness:
            return self
        if self.loader not in LOADERS:
            raise ValueError(f"unknown loader {self.loader!r}; there are {', '.join(LOADERS)}")
        loader = LOADERS[self.loader]
        if missing := set(loader.needs) - self.columns.keys():
            raise ValueError(f"loader {self.loader!r} needs a column for {', '.join(sorted(missing))}")
        if unknown := self.columns.keys() - {*loader.needs, *loader.may}:
            raise ValueError(f"loader {self.loader!r} has no use for a column {', '.join(sorted(unknown))}")
        if not self.hub or not any(self.files.values()):
            raise ValueError("hub and files are needed")
        if self.grader not in (*GRADERS, "several"):
            raise ValueError(f"unknown grader {self.grader!r}")
        return self


class Part(BaseModel):
    """How many questions of a benchmark are in a mix, by split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: int = Field(default=0, ge=0)
    validation: int = Field(default=0, ge=0)
    test: int = Field(default=0, ge=0)


class Mix(BaseModel):
    """Several benchmarks in one file. `parts`: benchmark to its questions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    parts: dict[str, Part] = Field(min_length=1)


def find(catalogue: Path, name: str) -> Benchmark | Mix:
    """The benchmark or mix of this name. Raises BadFile for an invalid entry, BadInput for a name that is not there."""
    document = read_yaml(catalogue)
    benchmarks, mixes = _names(document, "benchmarks"), _names(document, "mixes")
    if name in benchmarks:
        return document.parsed(Benchmark, "benchmarks", name)
    if name in mixes:
        return document.parsed(Mix, "mixes", name)
    raise BadInput(
        f"no benchmark or mix {name!r}; there are {', '.join(benchmarks)}, and the mixes {', '.join(mixes)}", "name"
    )


def _names(document: Document, part: str) -> list[str]:
    value = document.value.get(part) if isinstance(document.value, dict) else None
    if not isinstance(value, dict) or not value:
        raise BadFile(document.path, f"{part} has to map names to entries", document.line((part,)))
    return [str(name) for name in value]
