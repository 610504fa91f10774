"""The questions of a batch: a set, a file, or, where texts may be shown, literal questions."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

from models.grading.question import Question, read_lines
from models.workers.ask import Message
from tasks.setup.preset import load_preset
from tasks.setup.settings import HOUSE, settings
from tasks.setup.texts import refuse_literal

QUESTIONS = "house, the full path of a JSONL file, or, with FUGU_SHOW_TEXTS=true, the questions themselves"


def load_inputs(questions: str | list[str]) -> list[tuple[Message, ...]]:
    """The messages of each question: the house's test questions, those of a JSONL file, or the literal ones.

    A line of the file has `question` or `messages`; a grader's fields are allowed.

    Raises BadInput for literal questions where texts may not be shown; BadFile, naming file and line.
    """
    refuse_literal(questions)
    if isinstance(questions, list):
        return [({"role": "user", "content": question},) for question in questions]
    if questions == HOUSE:
        from models.house.questions import generate

        counts = load_preset(settings().preset).questions
        made = generate(counts.seed, {"test": counts.test}, counts.two_hop_share)
        return [question.messages for question in made]
    return [question.messages for _, question in read_lines(Path(questions), Question, _filled())]


def id_content(messages: tuple[Message, ...]) -> str | list[Message]:
    """The content that a question's id is computed from: the text of a single user message, else all messages."""
    [first, *rest] = messages
    alone = not rest and first["role"] == "user" and isinstance(first["content"], str)
    return first["content"] if alone else list(messages)


def _filled() -> Any:
    """A function that adds the fields that a question without grading may omit."""
    numbers = count(1)

    def filled(row: Any) -> Any:
        if isinstance(row, dict):
            row = {"id": f"question {next(numbers)}", "task": "asked", **row}
            if "question" in row and "messages" not in row:
                row["messages"] = [{"role": "user", "content": row.pop("question")}]
        return row

    return filled
