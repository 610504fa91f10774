"""House questions as people type them: without spaces, in lower case, with "x" for "times", politely, in several lines.

What the workers would not read as the same problem is left as it was.
"""

from __future__ import annotations

import re
from random import Random

from models.house.workers.problem import Problem, TwoHop
from models.house.workers.reading import read

_FORMULA = re.compile(r"[(\-]*\d[\d.]*(?:\s*\)*\s*[-+*/^]\s*[(\-]*\d[\d.]*)+\)*")
_SIGN = re.compile(r"\s*([-+*/^=])\s*")
_WHAT_IS = re.compile(r"\bWhat is\b")
_BEFORE = ("please ", "hey, ", "hi, ", "hello\n", "can you tell me: ", "pls: ", "quick question:\n", "Please help.\n\n")
_AFTER = (" please", " pls", " thanks", " thx!", "\nthanks", "\n\nThank you very much!", " ??", " Please answer.")
_ENDINGS = ("", "", "=", " =", "=?", "?")


def typed(rng: Random, text: str) -> str:
    """The question as somebody might type it, or the question itself."""
    if "\n" in text:  # a program
        return text
    made = _written(rng, text)
    return made if _same(read(text), read(made)) else text


def _written(rng: Random, text: str) -> str:
    formula = _FORMULA.search(text)
    if formula is not None and rng.random() < 0.6:
        glued = _SIGN.sub(rng.choice((r"\1", r"\1", r" \1", r"\1 ")), formula.group())
        if rng.random() < 0.25:
            glued = glued.replace("*", rng.choice(("x", "×", " x ")))
        if rng.random() < 0.3:
            return glued + rng.choice(_ENDINGS)
        text = text.replace(formula.group(), glued)
    elif "=" in text and rng.random() < 0.5:
        text = _SIGN.sub(r"\1", text)
    if rng.random() < 0.3:
        text = text.replace(", ", ",") if rng.random() < 0.5 else text.rstrip("?.")
    if rng.random() < 0.4:
        text = _WHAT_IS.sub(rng.choice(("what's", "whats", "What's", "calculate")), text)
    if rng.random() < 0.5:
        text = text.lower()
    if rng.random() < 0.3:
        text = rng.choice(_BEFORE) + text
    if rng.random() < 0.3:
        text += rng.choice(_AFTER)
    return text.replace(". ", ".\n", 1) if rng.random() < 0.2 else text


def _same(first: Problem | TwoHop | None, second: Problem | TwoHop | None) -> bool:
    """Whether both are the same problem to the workers."""
    if isinstance(first, TwoHop) and isinstance(second, TwoHop):
        return first.second_kind == second.second_kind and _same(first.first, second.first)
    if not (isinstance(first, Problem) and isinstance(second, Problem)) or first.kind != second.kind:
        return False
    try:
        return first.solve().casefold() == second.solve().casefold()
    except (ArithmeticError, ValueError):
        return False
