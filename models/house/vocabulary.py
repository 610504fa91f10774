"""The words in text questions, which are also `lingua`'s dictionary (`data/house/vocabulary.yaml`)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from models.house.wordings import Texts, table


class _Vocabulary(BaseModel):
    model_config = ConfigDict(extra="forbid")

    short: Texts
    long: Texts
    irregular: dict[str, str]
    phrases: Texts


_read = table("vocabulary.yaml").parsed(_Vocabulary)

SHORT = _read.short
"""Five to eight letters."""

LONG = _read.long
"""Ten letters and more."""

DICTIONARY = SHORT + LONG
IRREGULAR = _read.irregular
PHRASES = _read.phrases


def plural(noun: str) -> str:
    """The plural of an English noun: irregular ones by table, the rest by rule."""
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "z", "ch", "sh")) else "s")
