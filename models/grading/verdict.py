"""What every grader returns, and where a free-text reply keeps its final answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from models.errors import BadInput

MAX_REPLY_CHARS = 200_000  # a longer reply is judged by its end, where final answers stand

_MARKER = re.compile(r"answer[\s*]{0,8}[:：][\s*]{0,8}", re.IGNORECASE)


@dataclass(frozen=True)
class Verdict:
    """`score` in [0, 1]; `detail` says in a few words why."""

    score: float
    detail: str = ""


class Options(BaseModel):
    """What a question may set for its grader; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


O = TypeVar("O", bound=Options)  # noqa: E741


def options_of(kind: type[O], values: Mapping[str, Any]) -> O:
    """The options as values of `kind`. Raises BadInput naming the first bad one."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(("options", *(str(part) for part in first["loc"])))
        raise BadInput(f"{field}: {first['msg']}", field) from None


def final_answer(reply: str) -> str:
    """The text after the last "Answer:" (any case, also in bold), else the whole reply; trimmed."""
    text = reply[-MAX_REPLY_CHARS:]
    markers = list(_MARKER.finditer(text))
    return text[markers[-1].end() :].strip() if markers else text.strip()


def has_marker(reply: str) -> bool:
    """Whether the reply marks its final answer with "Answer:"."""
    return _MARKER.search(reply[-MAX_REPLY_CHARS:]) is not None


def boxed(text: str) -> str:
    r"""The content of the last LaTeX `\boxed{...}`, else the text itself."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return text
    depth, begin = 0, start + len("\\boxed")
    for index in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[begin + 1 : index].strip()
    return text
