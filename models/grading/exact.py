"""Grader `exact`: the final answer is one of the accepted texts.

Ignored are case, runs of white space, surrounding quotes, emphasis or dollar signs, and a closing full stop; with
`{"case": true}` case counts. The reference is a text or a list of accepted texts.
"""

from __future__ import annotations

import re
import unicodedata

from models.errors import BadInput
from models.grading.answer import final_answer, graded_part
from models.grading.question import Question
from models.grading.verdict import Options, Verdict, options_of

VERSION = "exact/2"

_SPACE = re.compile(r"\s+")
_AROUND = " \t\n\"'`*"
_QUOTED = re.compile(r"«(.*)»|‹(.*)›|\$([^$]*)\$|\\\((.*)\\\)|\\(?:text|math|mbox|emph)[a-z]{0,2}\s*\{([^{}]*)\}")
_SPELLINGS: dict[int, str | None] = {  # variants of a character to one of them; None: invisible, removed
    **dict.fromkeys(map(ord, "‘’‚ʼ＇"), "'"),
    **dict.fromkeys(map(ord, "“”„＂"), '"'),
    **dict.fromkeys(map(ord, "‐‑−"), "-"),
    **dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff")),
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
}


class ExactOptions(Options):
    """`case`: upper and lower case differ."""

    case: bool = False


def normal(text: str, *, case: bool = False) -> str:
    """The text in its normalised form, which is compared."""
    text = unicodedata.normalize("NFC", text.translate(_SPELLINGS))
    text = _SPACE.sub(" ", text if case else unicodedata.normalize("NFC", text.casefold())).strip()
    while (bare := _bare(text)) and bare != text:
        text = bare
    return text


def _bare(text: str) -> str:
    """The text without its outermost layer of quotes, emphasis, dollar signs or closing full stops."""
    quoted = _QUOTED.fullmatch(text)
    if quoted:
        return next(part for part in quoted.groups() if part is not None).strip()
    return text.strip(_AROUND).rstrip(".")


def check(question: Question) -> None:
    """Raises BadInput when the reference is not a text or a list of texts, or one of them is empty."""
    options_of(ExactOptions, question.options)
    accepted = question.reference if isinstance(question.reference, list) else [question.reference]
    if not accepted or not all(isinstance(text, str | int) and str(text).strip() for text in accepted):
        raise BadInput("exact needs a text, or a list of texts, as reference", "reference")


def grade(question: Question, reply: str) -> Verdict:
    """Score 1 when the final answer, or the whole reply, equals an accepted text, else 0."""
    case = options_of(ExactOptions, question.options).case
    accepted = question.reference if isinstance(question.reference, list) else [question.reference]
    texts = {normal(str(text), case=case) for text in accepted}
    answer = normal(final_answer(reply), case=case)
    if answer in texts or normal(graded_part(reply), case=case) in texts:
        return Verdict(1.0)
    return Verdict(0.0, f"answered {answer[:80]!r}")
