"""Questions with their graders and references, and the JSONL files that hold them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from models.digest import json_digest
from models.errors import BadFile
from models.files import parse_json, read_text, staged


class Identified(BaseModel):
    """A line of a JSONL file that has an id."""

    id: str = Field(min_length=1, max_length=200)  # the ledger's column


Line = TypeVar("Line", bound=Identified)


def _can_be_sent(messages: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """Refuse messages that a worker could not read, before it is paid."""
    for message in messages:
        if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str | list):
            raise ValueError("every message has a role, and content that is a text or a list of parts")
    return messages


Messages = Annotated[tuple[dict[str, Any], ...], Field(min_length=1), AfterValidator(_can_be_sent)]
Split = Literal["", "train", "validation", "test", "unseen"]


class Question(Identified):
    """One line of a question file.

    `task`: the family that the task-table baseline predicts. `split`: `train`, `validation`, `test` or `unseen` (empty:
    the flow splits by id). `tags`: free words (`unseen`, `two-hop`, ...).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str = Field(min_length=1, max_length=200)
    messages: Messages
    grader: str = "exact"
    reference: Any = None
    options: dict[str, Any] = Field(default_factory=dict)
    split: Split = ""
    tags: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """sha256 (hex) of messages, grader, reference and options. The split is left out, so that moving a question
        between splits keeps its labels."""
        asked = self.model_dump(mode="json", include={"messages", "grader", "reference", "options"})
        ordered = [asked[name] for name in ("messages", "grader", "reference", "options")]
        return json_digest(ordered)


def load_questions(path: Path) -> list[Question]:
    """Read a JSONL file; a line may have `question` (a string) instead of `messages`.

    Raises BadFile, naming the line, for invalid JSON, an unknown or missing field, or a duplicate id.
    """
    return [question for _, question in read_lines(path, Question, _with_messages)]


def _with_messages(row: Any) -> Any:
    if isinstance(row, dict) and "question" in row and "messages" not in row:
        row["messages"] = [{"role": "user", "content": row.pop("question")}]
    return row


def read_lines(
    path: Path, kind: type[Line], prepare: Callable[[Any], Any] = lambda row: row
) -> Iterator[tuple[int, Line]]:
    """Read a JSONL file: its values, each with its line number (from 1). `prepare` may change the JSON before parsing.

    Raises BadFile, naming the line, for invalid JSON, an invalid field, a duplicate id, or a file without lines.
    """
    seen: dict[str, int] = {}
    for number, line in _filled_lines(path):
        value = _parse(path, number, line, kind, prepare)
        if value.id in seen:
            raise BadFile(path, f"question id {value.id!r} is already on line {seen[value.id]}", number)
        seen[value.id] = number
        yield number, value
    if not seen:
        raise BadFile(path, "holds no question")


def _filled_lines(path: Path) -> list[tuple[int, str]]:
    return [(number, line) for number, line in enumerate(read_text(path).split("\n"), start=1) if line.strip()]


def _parse(path: Path, number: int, line: str, kind: type[Line], prepare: Callable[[Any], Any]) -> Line:
    with blamed(path, number):
        value = kind.model_validate(prepare(parse_json(line)))
        value.model_dump_json()  # raises for a value that cannot be written again, such as half a surrogate pair
        return value


@contextmanager
def blamed(path: Path, number: int | None) -> Iterator[None]:
    """What cannot be parsed or validated inside is a BadFile that names the line."""
    try:
        yield
    except json.JSONDecodeError as error:
        raise BadFile(path, f"not JSON: {error.msg} at column {error.colno}", number) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "line"
        raise BadFile(path, f"{place}: {first['msg'].removeprefix('Value error, ')}", number) from None
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, deep nesting
        raise BadFile(path, f"cannot be used: {error}", number) from None


def save_questions(path: Path, questions: Iterable[Question]) -> None:
    """Write a JSONL file atomically. Raises OSError."""
    with staged(path) as file:
        file.writelines(question.model_dump_json(exclude_defaults=True) + "\n" for question in questions)
