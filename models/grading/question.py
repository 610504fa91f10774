"""A question with its grader and reference, and the JSONL files that hold them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import BadFile


class Question(BaseModel):
    """One line of a question file.

    `task` is the family that the task-table baseline predicts; `split` is `train`, `validation` or `test`
    (empty: the flow splits by id); `tags` are free (`unseen`, `two-hop`, ...).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    task: str = Field(min_length=1)
    messages: tuple[dict[str, Any], ...] = Field(min_length=1)
    grader: str = "exact"
    reference: Any = None
    options: dict[str, Any] = Field(default_factory=dict)
    split: str = ""
    tags: tuple[str, ...] = ()


def load_questions(path: Path) -> list[Question]:
    """Read a JSONL file; `question` (a string) may stand for `messages`.

    Raises BadFile, naming the line, for unreadable JSON, an unknown or missing field, or an id seen before.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(path, f"cannot be read: {error}") from None
    questions: list[Question] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        question = _parse(path, number, line)
        if question.id in seen:
            raise BadFile(path, f"question id {question.id!r} stands already on line {seen[question.id]}", number)
        seen[question.id] = number
        questions.append(question)
    if not questions:
        raise BadFile(path, "holds no question")
    return questions


def _parse(path: Path, number: int, line: str) -> Question:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadFile(path, f"not JSON: {error.msg} at column {error.colno}", number) from None
    if isinstance(row, dict) and "question" in row and "messages" not in row:
        row["messages"] = [{"role": "user", "content": row.pop("question")}]
    try:
        return Question.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "line"
        raise BadFile(path, f"{place}: {first['msg']}", number) from None


def save_questions(path: Path, questions: Iterable[Question]) -> None:
    """Write a JSONL file, atomically."""
    partial = path.with_suffix(path.suffix + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        for question in questions:
            file.write(question.model_dump_json(exclude_defaults=True) + "\n")
    partial.replace(path)
