"""What users and workers said, and where it may be shown: Prefect's database and the logs hold none of it.

Unless FUGU_SHOW_TEXTS says so, names, pages and messages go by ids and figures; `fugu show ID` has the words.
"""

from __future__ import annotations

from typing import Any

from models.errors import BadInput, FuguError, told
from tasks.setup.settings import HOUSE, settings

ASK_OTHERWISE = (
    "questions are given as a set (house) or as the full path of a JSONL file: written into the parameters they would "
    "stay in Prefect's database. FUGU_SHOW_TEXTS=true takes them all the same"
)


def shown() -> bool:
    """Whether texts may be shown."""
    return settings().shows_texts


def what(error: BaseException) -> str:
    """An error in a line, without others' words where they may not be shown."""
    return f"{type(error).__name__}: {error}" if shown() else told(error)


def unquoted(error: Exception) -> Exception:
    """The error itself, or where its message may quote somebody, one of the same class that does not.

    What is no error of ours becomes a FuguError that names its class and place.
    """
    if shown() or (isinstance(error, FuguError) and not error.quotes):
        return error
    if not isinstance(error, FuguError):
        return FuguError(told(error))
    plain = type(error).__new__(type(error))
    plain.__dict__.update(error.__dict__)
    plain.args = (f"{told(error)}; FUGU_SHOW_TEXTS=true shows its words here",)
    return plain


def are_literal(questions: Any) -> bool:
    """Whether a flow's parameter `questions` is text itself, and not the name of a set or a file's full path."""
    return not isinstance(questions, str) or not (questions == HOUSE or questions.startswith("/"))


def refuse_literal(questions: Any) -> None:
    """Raises BadInput for questions that stand in the parameters themselves where texts may not be shown."""
    if are_literal(questions) and not shown():
        raise BadInput(ASK_OTHERWISE, "questions")
