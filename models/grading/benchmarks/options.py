"""Multiple choice: MMLU, MMLU-Pro, GPQA. Options get letters, and the reference is the right one's."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from string import ascii_uppercase

from models.grading.benchmarks.row import LeftOut, Made, Row

_ASKS = "Answer with the letter of the right option."


def lettered(row: Row) -> Made:
    """Options in a list, and the right one as its index or letter: MMLU, MMLU-Pro (whose `N/A` are no options)."""
    options, answer = row.value("options"), row.value("answer")
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise LeftOut("whose options are no list of texts")
    options = [option.strip() for option in options]
    if isinstance(answer, str) and len(answer) == 1 and answer in ascii_uppercase:
        answer = ascii_uppercase.index(answer)
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(options):
        raise LeftOut("whose answer is none of the options")
    right = options[answer]
    options = [option for at, option in enumerate(options) if option != "N/A" or at == answer]
    return _made(row, options, options.index(right))


def shuffled(row: Row) -> Made:
    """GPQA's form: a right answer and three wrong ones, each in a column of its own. They are shuffled by a seed made
    of the question's id, so that every fetch, and every limit, gives the same letters."""
    right = row.text("right")
    options = [right, *(row.text(role) for role in ("wrong1", "wrong2", "wrong3"))]
    if len(set(options)) < len(options):
        raise LeftOut("two of whose options are the same")
    random.Random(int.from_bytes(hashlib.sha256(row.key.encode()).digest()[:8])).shuffle(options)
    return _made(row, options, options.index(right))


def _made(row: Row, options: Sequence[str], right: int) -> Made:
    if not 2 <= len(options) <= len(ascii_uppercase):
        raise LeftOut("without 2 to 26 options")
    letters = "\n".join(f"{letter}. {text}" for letter, text in zip(ascii_uppercase, options, strict=False))
    category = row.value("task")
    return Made(
        f"{row.text('question')}\n\n{letters}\n\n{_ASKS}",
        "choice",
        ascii_uppercase[right],
        {"choices": list(options)},
        task=category.strip()[:150] if isinstance(category, str) else "",
        tags=row.tags,
    )
