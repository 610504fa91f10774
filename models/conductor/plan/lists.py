r"""The three lists of a plan in free text: `named_lists` reads all lists, `plan_of` picks the three that form a plan.

Lists are read as language models write them, in Python, JSON or typographic quotes, and never evaluated. Reading is one
pass, linear in the text, by two rules: after an unreadable list the search continues where reading stopped, and a kind
of quote that was found not to close before the end is not searched for a second time. A quote closes only before a
comma or a bracket, so that 'the poem's title' is read as intended.

A completion may hold several plans, repeated lists and remarks. `plan_of` selects non-overlapping windows (three lists
of equal length, one of each name) with the highest total score; the last of them is the plan.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias

NAMES = ("model_id", "subtasks", "access_list")
"""The three lists' names, in the order of the prompt."""

MAX_ENTRIES = 64
MAX_DEPTH = 2

Value: TypeAlias = "int | str | list[Value] | None"

_NAMES = r"(?P<model_id>model\\?_ids?)|(?P<subtasks>subtasks?)|(?P<access_list>access\\?_lists?)"
_NAMED_LIST = re.compile(
    rf"""(?<!\w)(?:{_NAMES})["'`*”“’‘»]{{0,4}}"""  # the name, perhaps quoted or in bold
    r"\s*(?::\s*(?:typing\.)?list\b[\w\[\], .|]{0,80}=|:?=|:)"  # a sign, perhaps with a type
    r"[\s*`]*(?:(?<=`)(?:python|json)[\s*`]*)?\[",  # perhaps a fence, and the bracket
    re.IGNORECASE,
)
_NEXT_LIST = (
    rf"""\n[ \t>*{{-]*["'`“‘]?(?:{re.sub(r"[?]P<[a-z_]+>", "?:", _NAMES)})["'`*”’]{{0,4}}"""
    r"[ \t]*:?[:=][ \t]*\["
)
"""A line on which a list begins: a text that reaches it was not closed."""

_SPACE = re.compile(r"\s+|(?:#|//)[^\n]*")
_NUMBER = r"(?:model[ _#]{0,2})?(?P<number>-?[0-9]{1,9})"
_BARE = re.compile(rf"(?:{_NUMBER}|(?P<none>none|null)|(?P<all>all))(?![\w.])", re.IGNORECASE)
_QUOTED_NUMBER = re.compile(rf"\s*{_NUMBER}\s*", re.IGNORECASE)
_OPENING = re.compile(r"""(?P<prefix>[rbuf]{0,2})(?P<quote>\"{3}|'{3}|["'“”„‘’‚«])""", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""} | {sign: sign for sign in "\\'\"/“”‘’"}

_CLOSING = {"“": "”“", "”": "”“", "„": "”“", "‘": "’‘", "’": "’‘", "‚": "’‘", "«": "»"}
_GOES_ON = r"""(?=\s*[,\]]|[ \t]+(?:#|//)|[^\S\n]*\n\s*["'“‘])"""
_ENDS = {
    quote: re.compile(rf"(?:\\.){{1,64}}|(?P<stop>{_NEXT_LIST})|[{closing}]{_GOES_ON}", re.IGNORECASE | re.DOTALL)
    for quote, closing in ({"'": "'", '"': '"'} | _CLOSING).items()
} | {quote: re.compile(rf"(?:\\.){{1,64}}|{quote}", re.DOTALL) for quote in ("'''", '"""')}

NEAR = 5
"""Consecutive lists that may hold a window's three: up to two others may be between them."""

WINDOW, COMPACT, IN_ORDER, BEGINS, SKIPPED = 4, 8, 2, 2, -1
"""Scores: two loose windows beat an ordered one that overlaps both; a compact one beats two that overlap it."""

_MARKS = re.compile(r"[\W_]*(?:(?:python|json)[\W_]*)?", re.IGNORECASE)
_MARKED = 64
"""Maximum characters of marks before a list."""


class Unreadable(Exception):
    """There is no readable list here. `at`: where reading stopped."""

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.at = at


@dataclass(frozen=True)
class Listed:
    """A readable list, and the positions where its name begins and its bracket closes."""

    name: str
    entries: list[Any]
    start: int
    end: int


Window = tuple[Listed, Listed, Listed]


def named_lists(text: str) -> Iterator[tuple[str, list[Value] | Unreadable, tuple[int, int]]]:
    """Every list after one of the three names, in order, with the positions where its name begins and the list ends.

    Names inside a list's texts do not count.
    """
    reader, at = _Reader(text), 0
    while found := _NAMED_LIST.search(text, at):
        name, start = str(found.lastgroup), found.end() - 1
        try:
            values, at = reader.read_list(start)
            yield name, values, (found.start(), at)
        except Unreadable as error:
            at = max(error.at, start + 1)
            yield name, error, (found.start(), at)


def number(value: Value) -> int | None:
    """The number of an entry: 2, "2" or "Model 2"."""
    if isinstance(value, str):
        found = _QUOTED_NUMBER.fullmatch(value[:64])
        return int(found["number"]) if found and len(value) <= 64 else None
    return value if isinstance(value, int) else None


def plan_of(lists: Iterable[Listed], text: str) -> Window | None:
    """The three lists of the last plan. Linear in their number: each is compared only with its neighbours."""
    near: deque[Listed] = deque(maxlen=NEAR)
    worth: deque[int] = deque([0], maxlen=NEAR + 1)  # of the best choice before each of `near`, and after the last
    last: Window | None = None
    lasts: deque[Window | None] = deque([None], maxlen=NEAR + 1)
    for listed in lists:
        near.append(listed)
        best, last = worth[-1], lasts[-1]
        for one, two in combinations(range(len(near) - 1), 2):
            window = near[one], near[two], listed
            if _fit(window):
                total = worth[one - len(near)] + _worth(window, len(near) - one - 3, text)
                if total >= best:  # the later one wins a tie
                    best, last = total, window
        worth.append(best)
        lasts.append(last)
    return last


class _Reader:
    """A parser: each method reads at a position and returns a value and the position after it, or raises Unreadable."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._open: set[re.Pattern[str]] = set()  # patterns of ends that do not occur any more

    def read_list(self, at: int, depth: int = 1) -> tuple[list[Value], int]:
        text = self._text
        values: list[Value] = []
        at = self._space(at + 1)
        while text[at : at + 1] != "]":
            if len(values) == MAX_ENTRIES:
                raise Unreadable(f"more than {MAX_ENTRIES} entries", at)
            value, at = self._value(at, depth)
            values.append(value)
            at = self._space(at)
            if text[at : at + 1] == ",":
                at = self._space(at + 1)
            elif text[at : at + 1] != "]":
                raise Unreadable("a comma or a closing bracket is missing", at)
        return values, at + 1

    def _value(self, at: int, depth: int) -> tuple[Value, int]:
        if self._text[at : at + 1] == "[":
            if depth == MAX_DEPTH:
                raise Unreadable("a list too deep inside others", at)
            return self.read_list(at, depth + 1)
        if opening := _OPENING.match(self._text, at):
            return self._texts(opening)
        if found := _BARE.match(self._text, at):
            return int(found["number"]) if found["number"] else "all" if found["all"] else None, found.end()
        raise Unreadable("an entry that is no text, number or list", at)

    def _texts(self, opening: re.Match[str] | None) -> tuple[str, int]:
        """A text; consecutive ones are joined, as in Python."""
        pieces, at = [], 0
        while opening:
            start = opening.end()
            end = self._end(_ENDS[opening["quote"]], start)
            piece = self._text[start : end.start()]
            raw = "\\" not in piece or "r" in opening["prefix"].lower()
            pieces.append(piece if raw else _ESCAPE.sub(_unescaped, piece))
            at = self._space(end.end())
            opening = _OPENING.match(self._text, at)
        return "".join(pieces), at

    def _end(self, ends: re.Pattern[str], start: int) -> re.Match[str]:
        at = start
        while ends not in self._open:
            found = ends.search(self._text, at)
            if found is None:
                self._open.add(ends)
            elif found.lastgroup == "stop":
                raise Unreadable("a text whose quote is not closed", found.start())
            elif found[0][0] != "\\":
                return found
            else:
                at = found.end()
        raise Unreadable("a text whose quote is not closed", start)

    def _space(self, at: int) -> int:
        """The position after blanks and comments."""
        while found := _SPACE.match(self._text, at):
            at = found.end()
        return at


def _unescaped(escape: re.Match[str]) -> str:
    """The character of an escape; an unknown escape is left unchanged, as in Python."""
    code = escape[1]
    if len(code) > 1:
        point = int(code[1:], 16)
        return chr(point) if point <= 0x10FFFF else escape[0]
    return _ESCAPED.get(code, escape[0])


def _fit(window: Window) -> bool:
    first, second, third = window
    if not len(first.entries) == len(second.entries) == len(third.entries):
        return False
    return len({first.name, second.name, third.name}) == len(NAMES)


def _worth(window: Window, skipped: int, text: str) -> int:
    first, second, third = window
    begins = [_begins(listed, text) for listed in window]
    close = not skipped and _marks(text, first.end, second.start) and _marks(text, second.end, third.start)
    in_order = tuple(listed.name for listed in window) == NAMES
    return WINDOW + COMPACT * (begins[0] and close) + IN_ORDER * in_order + BEGINS * sum(begins) + SKIPPED * skipped


def _begins(listed: Listed, text: str) -> bool:
    """Whether there are only marks between the beginning of the line and the list."""
    line = text.rfind("\n", max(0, listed.start - _MARKED), listed.start)
    return _marks(text, line + 1, listed.start)


def _marks(text: str, start: int, end: int) -> bool:
    return end - start <= _MARKED and bool(_MARKS.fullmatch(text, start, end))
