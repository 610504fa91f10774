"""Grader `exact`: the final answer is one of the accepted texts.

Case, runs of white space, surrounding quotes or emphasis and a closing full stop do not count; with
`{"case": true}` case does. The reference is a text or a list of accepted texts.
"""

from __future__ import annotations

import re
import unicodedata

from models.errors import BadInput
from models.grading.question import Question
from models.grading.verdict import Options, Verdict, final_answer, options_of

VERSION = "exact/1"

_SPACE = re.compile(r"\s+")
_AROUND = " \t\n\"'`*“”‘’"


class ExactOptions(Options):
    """`case`: upper and lower case differ."""

    case: bool = False


def normal(text: str, *, case: bool = False) -> str:
    """The text as it is compared."""
    text = _SPACE.sub(" ", unicodedata.normalize("NFC", text)).strip()
    bare = text.strip(_AROUND).rstrip(".").rstrip(_AROUND) or text
    return bare if case else bare.casefold()


def check(question: Question) -> None:
    """Raises BadInput when the reference holds no text."""
    options_of(ExactOptions, question.options)
    accepted = question.reference if isinstance(question.reference, list) else [question.reference]
    if not accepted or not all(isinstance(text, str | int) and str(text).strip() for text in accepted):
        raise BadInput("exact needs a text, or a list of texts, as reference", "reference")


def grade(question: Question, reply: str) -> Verdict:
    """1 when the final answer equals an accepted text, else 0."""
    case = options_of(ExactOptions, question.options).case
    accepted = question.reference if isinstance(question.reference, list) else [question.reference]
    answer = normal(final_answer(reply), case=case)
    if any(answer == normal(str(text), case=case) for text in accepted):
        return Verdict(1.0)
    return Verdict(0.0, f"answered {answer[:80]!r}")
