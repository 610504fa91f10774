"""Questions that mean the same in other words: a router should choose for them as it did before.

All three kinds are rules, seeded by the text, so that a question is always changed in the same way. No model rewords
anything here: `REWORDING` is what rules can do (an opening phrase, other words for an instruction, the question before
what leads to it), which is less than a person's paraphrase.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPO = "typos"
SUFFIX = "suffix"
REWORDING = "rule-based rewording"

MOST = 300
"""Questions that are perturbed at most: each kind costs a forward of each."""

Message = Mapping[str, Any]

EVERY = 10
"""A typo for so many words that are long enough, and one at least."""

SUFFIXES = ("Thank you in advance.", "Please think carefully.", "Take your time.", "Thanks!")
OPENINGS = ("Here is a question for you.", "I would like to know this.", "Could you help me with this?", "Hello.")

SYNONYMS = {
    "calculate": "compute",
    "choose": "pick",
    "compute": "calculate",
    "create": "make",
    "describe": "explain",
    "determine": "find",
    "evaluate": "work out",
    "explain": "describe",
    "find": "determine",
    "following": "next",
    "give": "provide",
    "identify": "name",
    "solve": "work out",
    "write": "compose",
}
"""Other words for instructions, those left out that are often a noun or a name in code."""


def perturbed(messages: Sequence[Message], kind: str) -> tuple[dict[str, Any], ...]:
    """The conversation with the text of its last user message (without one: of its last message) changed.

    kind: one of `KINDS`. Of content in parts the last text is changed; a conversation without text stays as it is."""
    change, found = KINDS[kind], [dict(message) for message in messages]
    asked = [at for at, message in enumerate(found) if message.get("role") == "user"] or [len(found) - 1]
    last = found[asked[-1]]
    if isinstance(content := last.get("content"), str):
        last["content"] = change(content)
    elif isinstance(content, Sequence):
        parts = [dict(part) if isinstance(part, Mapping) else part for part in content]
        texts = [part for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
        for part in texts[-1:]:
            part["text"] = change(part["text"])
        last["content"] = parts
    return tuple(found)


def sampled(names: Sequence[str], most: int = MOST) -> NDArray[np.intp]:
    """Ascending places of at most so many names, chosen by their digests: the same ones in any order and company."""
    order = sorted(range(len(names)), key=lambda at: hashlib.sha256(names[at].encode()).hexdigest())
    return np.sort(np.array(order[:most], np.intp))


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def _typos(text: str) -> str:
    """Two neighbouring letters inside a word change places."""
    words = [each for each in re.finditer(r"[^\W\d_]{4,}", text) if _swaps(each.group())]
    draws, letters = np.random.default_rng(_seed(text)), list(text)
    count = -(-len(words) // EVERY)
    for place in draws.permutation(len(words))[:count]:
        word = words[int(place)]
        swaps = _swaps(word.group())
        at = word.start() + swaps[int(draws.integers(len(swaps)))]
        letters[at], letters[at + 1] = letters[at + 1], letters[at]
    return "".join(letters)


def _swaps(word: str) -> list[int]:
    """Places inside a word whose letter differs from the next one, the first and the last letter left out."""
    return [at for at in range(1, len(word) - 2) if word[at] != word[at + 1]]


def _suffix(text: str) -> str:
    return f"{text.rstrip()} {SUFFIXES[_seed(text) % len(SUFFIXES)]}"


def _reworded(text: str) -> str:
    pattern = re.compile(rf"\b(?:{'|'.join(SYNONYMS)})\b(?!\()", re.IGNORECASE)
    other = pattern.sub(lambda found: _like(found.group(), SYNONYMS[found.group().lower()]), text)
    return f"{OPENINGS[_seed(text) % len(OPENINGS)]} {_question_first(other)}"


def _like(word: str, other: str) -> str:
    """The other word with a capital where the first has one."""
    return other[0].upper() + other[1:] if word[0].isupper() else other


def _question_first(text: str) -> str:
    """Of prose on one line that ends in a question, the question first."""
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z])", text.strip())
    if "\n" in text.strip() or len(sentences) < 2 or not sentences[-1].endswith("?"):
        return text
    return " ".join([sentences[-1], *sentences[:-1]])


KINDS: dict[str, Callable[[str], str]] = {REWORDING: _reworded, TYPO: _typos, SUFFIX: _suffix}
