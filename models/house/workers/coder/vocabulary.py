"""The words of `data/house/coder.yaml`, as sets."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from models.house.wordings import table

_Words = Annotated[frozenset[str], BeforeValidator(lambda line: frozenset(str(line).split()))]


class Vocabulary(BaseModel):
    """What each set is for is said in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stop: _Words
    opening: _Words
    answer: _Words
    said: _Words
    people: _Words
    places: _Words
    whole: _Words


WORDS = table("coder.yaml").parsed(Vocabulary)
