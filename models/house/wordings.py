"""The tables of `data/house`: sentences about each kind of question, and what plans say to their steps.

They are part of what the shipped recipes were made of: tests hold the corpus and the plans to their digests.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, RootModel

import models
from models.files import Document, read_yaml

Texts = tuple[str, ...]


class _Glosses(RootModel[dict[str, Texts]]):
    pass


class TwoHop(BaseModel):
    """The two steps of a kind of question, and the task that each is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[str, str]
    first: Texts
    second: Texts


class PlanWordings(BaseModel):
    """By kind of question; `general` and `review` where a kind has no wording: the first step, and the second."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    general: Texts
    review: Texts
    two_hop: dict[str, TwoHop]
    single_hop: dict[str, Texts]


@cache
def glosses() -> dict[str, Texts]:
    """Sentences by kind of question. Raises BadFile."""
    return table("glosses.yaml").parsed(_Glosses).root


@cache
def plan_wordings() -> PlanWordings:
    """What the steps of plans are told. Raises BadFile."""
    return table("plans.yaml").parsed(PlanWordings)


def table(name: str) -> Document:
    """A table of the house: in FUGU_DATA where that has it, else in the project's data. Raises BadFile."""
    own = Path(os.environ.get("FUGU_DATA", "")).expanduser() / "house" / name
    shipped = Path(models.__file__).resolve().parent.parent / "data" / "house" / name
    return read_yaml(own if os.environ.get("FUGU_DATA") and own.is_file() else shipped)
