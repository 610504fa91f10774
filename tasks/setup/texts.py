"""Keep texts of users and workers out of Prefect's database and the logs.

Unless FUGU_SHOW_TEXTS is true, names, pages and messages contain ids and figures only; `fugu show ID` prints the texts.
"""

from __future__ import annotations

from typing import Any

from models.errors import BadInput, FuguError, loggable
from tasks.setup.settings import HOUSE, NONE, settings

ASK_OTHERWISE = (
    "give questions as a set (house) or as the full path of a JSONL file: literal questions in the parameters would "
    "stay in Prefect's database. FUGU_SHOW_TEXTS=true accepts them"
)


def shown() -> bool:
    """Whether texts may be shown."""
    return settings().shows_texts


def what(error: BaseException) -> str:
    """An error as one line, without quoted texts where they may not be shown."""
    return f"{type(error).__name__}: {error}" if shown() else loggable(error)


def unquoted(error: Exception) -> Exception:
    """The error itself, or, if its message may quote texts, one of the same class without quotes.

    Other errors than FuguError become a FuguError with their class and place.
    """
    if shown() or (isinstance(error, FuguError) and not error.quotes):
        return error
    if not isinstance(error, FuguError):
        return FuguError(loggable(error))
    plain = type(error).__new__(type(error))
    plain.__dict__.update(error.__dict__)
    plain.args = (f"{loggable(error)}; FUGU_SHOW_TEXTS=true shows its message here",)
    return plain


def are_literal(questions: Any) -> bool:
    """Whether a flow's parameter `questions` is literal text, not the name of a set or the full path of a file."""
    return not isinstance(questions, str) or not (questions in (HOUSE, NONE) or questions.startswith("/"))


def refuse_literal(questions: Any) -> None:
    """Raises BadInput for literal questions in the parameters where texts may not be shown."""
    if are_literal(questions) and not shown():
        raise BadInput(ASK_OTHERWISE, "questions")
