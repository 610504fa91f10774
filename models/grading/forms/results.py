"""What evaluations publish, one file for each model: ZeroEval's `result_dirs`, MMLU-Pro's `eval_results`."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from string import ascii_uppercase
from typing import Any

from models.grading.answer import boxed
from models.grading.exact import normal
from models.grading.forms.reply import Asked, Replies, Reply, Row, user
from models.grading.number import last_number

_ANSWER = re.compile(r'"answer"\s*:\s*(?:"((?:[^"\\]|\\.){0,4000})"|([^\s,"{}\[\]]{1,200}))')
_MAX_LITERAL = 4_000
_LITERAL = "crux"  # its answers are Python values


def zeroeval(rows: Iterator[Row]) -> Replies:
    """WildEval/ZeroEval: `result_dirs/TASK/MODEL.json`, each reply a JSON object with an `answer`, which is compared
    with the reference: as numbers where both are, for CRUX as Python values, else as texts."""
    for row in rows:
        task = row.text("dataset")
        asked = Asked(f"{task}-{row.text('id', 'session_id')}"[:200], task, user(row.text("question")))
        output = row.value["output"]
        if not isinstance(output, list) or not all(isinstance(text, str) for text in output):
            raise row.bad("output: a list of texts is needed")
        reference = row.text("answer").removeprefix("# ").strip()
        for text in output:
            said = _answer(text)
            right = said is not None and _same(task, said, reference)
            yield Reply(row, asked, row.path.name.removesuffix(".gz").removesuffix(".json"), float(right))


def _answer(reply: str) -> str | None:
    """The answer of a reply that should be a JSON object, and often is one with errors."""
    start, end = reply.find("{"), reply.rfind("}")
    try:
        found: Any = json.loads(reply[start : end + 1], strict=False)
        if isinstance(found, dict) and "answer" in found:
            return found["answer"] if isinstance(found["answer"], str) else json.dumps(found["answer"])
    except (ValueError, RecursionError):
        pass
    said = list(_ANSWER.finditer(reply))
    return next((part for part in said[-1].groups() if part is not None), None) if said else boxed(reply)


def _same(task: str, said: str, reference: str) -> bool:
    if task.startswith(_LITERAL):
        ours, theirs = _literal(reference), _literal(said)
        if ours and theirs:
            return bool(ours[0] == theirs[0])  # as the assertion that they complete would compare
        return said.strip() == reference  # a text without its quotes is no literal, and wrong
    right, number = last_number(reference), last_number(said)
    if right is not None and number is not None:
        return right[0] == number[0]
    return normal(said) == normal(reference)


def _literal(text: str) -> tuple[Any] | None:
    """A Python literal's value, or None. Only `ast.literal_eval` sees the model's text: nothing is run."""
    try:
        return (ast.literal_eval(text.strip()),) if len(text) <= _MAX_LITERAL else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def mmlu_pro(rows: Iterator[Row]) -> Replies:
    """TIGER-AI-Lab/MMLU-Pro: a list for each model, or for each model and category; `pred` is the letter that was read
    from the reply, and none is wrong (their script draws one)."""
    for row in rows:
        options = row.value["options"]
        if not isinstance(options, list) or not 2 <= len(options) <= len(ascii_uppercase):
            raise row.bad("options: a list of 2 to 26 texts is needed")
        letters = "\n".join(f"{letter}. {text}" for letter, text in zip(ascii_uppercase, options, strict=False))
        asked = Asked(
            f"mmlupro-{row.text('question_id')}",
            row.text("category"),
            user(f"{row.text('question')}\n{letters}"),
            metric="choice",
        )
        yield Reply(row, asked, _model(row), float(row.value.get("pred") == row.text("answer")))


def _model(row: Row) -> str:
    """The model's name: of the file, or of the folder of its categories' files."""
    file = row.path.parent if row.path.parent.suffix == ".zip" else row.path
    name = file.name.removesuffix(".gz").removesuffix(".json").removesuffix(".zip")
    if name.endswith("_result") or row.path.parent not in (row.root, row.root.parent, file):
        name = file.parent.name
    return name.removeprefix("model_outputs_").removesuffix("_5shots").removesuffix("_0shots")
