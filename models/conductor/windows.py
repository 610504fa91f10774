"""Which three of the lists in a text are its plan: drafts, remarks and earlier plans hold such lists, too.

Any three near one another, one of each name and of one length, may be it. The text is divided into such windows so
that the windows are worth most together, and its plan is the last of them. A window is worth more where its lists
begin lines, where they come in the order in which they were asked for, and where it begins a line and nothing but
marks stands between its lists: so one that straddles a remark and a part of the plan loses against the plan.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from models.conductor.literals import NAMES

NEAR = 5
"""Lists in a row, among which a window's three are: two may stand between them that are not part of it."""

WINDOW, COMPACT, IN_ORDER, BEGINS, SKIPPED = 4, 8, 2, 2, -1
"""Two loose windows beat one in order that straddles them; a compact one beats two that straddle it and remarks."""

_MARKS = re.compile(r"[\W_]*(?:(?:python|json)[\W_]*)?", re.IGNORECASE)
_MARKED = 64
"""Characters of marks before a list, at most."""


@dataclass(frozen=True)
class Listed:
    """A list that can be read, and where in the text its name begins and its bracket closes."""

    name: str
    entries: list[Any]
    start: int
    end: int


Window = tuple[Listed, Listed, Listed]


def plan_of(lists: Iterable[Listed], text: str) -> Window | None:
    """The lists of the plan. Linear in their number: each is held against its neighbours alone."""
    near: deque[Listed] = deque(maxlen=NEAR)
    worth: deque[int] = deque([0], maxlen=NEAR + 1)  # of the best division before each of `near`, and after the last
    last: Window | None = None
    lasts: deque[Window | None] = deque([None], maxlen=NEAR + 1)
    for listed in lists:
        near.append(listed)
        best, last = worth[-1], lasts[-1]
        for one, two in combinations(range(len(near) - 1), 2):
            window = near[one], near[two], listed
            if _fit(window):
                total = worth[one - len(near)] + _worth(window, len(near) - one - 3, text)
                if total >= best:  # of equal ones the later counts
                    best, last = total, window
        worth.append(best)
        lasts.append(last)
    return last


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
    """Whether nothing but marks stands between the beginning of a line and the list."""
    line = text.rfind("\n", max(0, listed.start - _MARKED), listed.start)
    return _marks(text, line + 1, listed.start)


def _marks(text: str, start: int, end: int) -> bool:
    return end - start <= _MARKED and bool(_MARKS.fullmatch(text, start, end))
