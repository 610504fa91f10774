"""Whether a question is like those that a small conductor was taught on: by its words, pairs of words and letters.

A small model writes some plan for any text, and is as sure of it as of a good one (data/EXPERIMENTS.md, section 6): its
own likelihood tells nothing. What a question shares with the lessons' questions does.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from models.errors import BadFile
from models.files import staged

FILE = "lessons.json"
"""A file in a checkpoint's folder; without it no question is far from what the conductor was taught."""

_QUOTED = re.compile(r"\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)|“[^”]*”")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_GLUED = re.compile(r"\s*([-+*/^×÷=(),:])\s*")
_LIST = re.compile(r"(?:0,)+0")
_WORD = re.compile(r"[^\W\d_]+|\d|[^\w\s]")


@dataclass(frozen=True)
class Familiarity:
    """`known`: hashes of what the lessons' questions consist of. `least`: the share of it that a question must have.

    `longest`: characters of a question that the conductor reads; of a longer one it would not know all.
    """

    known: frozenset[int]
    least: float
    longest: int

    @classmethod
    def taught_on(cls, texts: Iterable[str], least: float, longest: int) -> Familiarity:
        return cls(frozenset(hash for text in texts for part in _parts(text) for hash in part), least, longest)

    def and_on(self, texts: Iterable[str]) -> Familiarity:
        """The same after lessons on these questions, too."""
        more = self.taught_on(texts, self.least, self.longest)
        return replace(more, known=self.known | more.known)

    def share(self, text: str) -> float:
        """The share of the text that the lessons have, 0 to 1: the mean over words, pairs and groups of letters."""
        shares = [sum(hash in self.known for hash in part) / len(part) for part in _parts(text)]
        return sum(shares) / len(shares)

    def is_far(self, text: str) -> bool:
        """Whether the conductor should not plan for the text."""
        return len(text) > self.longest or self.share(text) < self.least

    def save(self, folder: Path) -> None:
        known = base64.b64encode(np.array(sorted(self.known), dtype="<u4").tobytes()).decode()
        with staged(folder / FILE) as file:
            file.write(json.dumps({"least": self.least, "longest": self.longest, "known": known}) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Familiarity | None:
        """`None` where the folder has none. Raises BadFile for one that cannot be read."""
        path = folder / FILE
        if not path.exists():
            return None
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            known = np.frombuffer(base64.b64decode(read["known"], validate=True), dtype="<u4")
            return cls(frozenset(known.tolist()), float(read["least"]), int(read["longest"]))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise BadFile(path, f"cannot be read: {error}") from None


def least_share(groups: Sequence[tuple[Sequence[str], Sequence[str]]], far: float) -> float:
    """The share below which `far` (0 to 1) of the held-out texts lie; each group: lessons, and texts held out from
    them."""
    shares = [
        familiarity.share(text)
        for lessons, held_out in groups
        for familiarity in [Familiarity.taught_on(lessons, 0.0, 0)]
        for text in held_out
    ]
    return round(float(np.quantile(shares, far)), 4)


def _parts(text: str) -> Iterator[list[int]]:
    """Hashes of the text's words, of neighbouring words, and of three and four neighbouring characters.

    Numbers and quoted texts are alike, and so are case and spaces: those are what differs from question to question.
    """
    plain = _QUOTED.sub('"q"', text.lower())
    plain = _LIST.sub("0,0,0", _GLUED.sub(r"\1", _NUMBER.sub("0", plain)))
    line = f" {' '.join(plain.split())} "
    words = _WORD.findall(line)
    yield _hashed("w", words or [""])
    yield _hashed("p", [" ".join(pair) for pair in pairwise(["^", *words, "$"])])
    for size in (3, 4):
        yield _hashed(str(size), [line[i : i + size] for i in range(max(1, len(line) - size + 1))])


def _hashed(kind: str, parts: Sequence[str]) -> list[int]:
    return [zlib.crc32(f"{kind}{part}".encode("utf-8", "surrogatepass")) for part in parts]
