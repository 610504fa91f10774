"""The graders' common values: the verdict, and the base class of a grader's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from models.errors import BadInput


@dataclass(frozen=True)
class Verdict:
    """A grader's result. `score` in [0, 1]; `detail`: the reason in a few words."""

    score: float
    detail: str = ""


class Options(BaseModel):
    """Options that a question may set for its grader; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


O = TypeVar("O", bound=Options)  # noqa: E741


def options_of(kind: type[O], values: Mapping[str, Any]) -> O:
    """Parse the options as a `kind`. Raises BadInput, naming the first invalid one."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(("options", *(str(part) for part in first["loc"])))
        raise BadInput(f"{field}: {first['msg']}", field) from None
