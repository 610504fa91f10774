"""Parse a question's text into a problem. Pure functions, shared by all workers, with cached results."""

from __future__ import annotations

import re
from functools import lru_cache

from models.house.workers import algebra, arithmetic, dates, facts, files, lists, measures, snippets, two_hop, words
from models.house.workers.problem import Problem, TwoHop

_READERS = (
    files.read,
    snippets.read,
    dates.read,
    measures.read,
    algebra.read,
    facts.read,
    lists.read,
    words.read,
    arithmetic.read,
)
_REMEMBERED = 8192
_REFERENCE = re.compile(r"\b(?:steps? \d|results?\b|previous\b|earlier\b|question\b)", re.IGNORECASE)
_CONCRETE = re.compile(r"\d|\"[^\"]+\"|(?<!\w)'[^']+'(?!\w)|“[^”]+”|\w, \w+(?:,|,? and) \w")


def read_single(text: str) -> Problem | None:
    """The problem of a question that needs one skill, or `None`."""
    return next((problem for reader in _READERS if (problem := reader(text)) is not None), None)


@lru_cache(maxsize=_REMEMBERED)
def read(text: str) -> Problem | TwoHop | None:
    """The problem in the text, or `None` if nothing is recognised."""
    return two_hop.read(text, read_single) or read_single(text)


def read_alone(text: str) -> Problem | TwoHop | None:
    """The problem in a subtask alone; `None` if it depends on the question or on another step's result.

    Example: "Find the capital of the country first." names no country, only the question does.
    """
    if _REFERENCE.search(text):
        return None
    if _CONCRETE.search(text) or facts.names_something(text):
        return read(text)
    return None
