"""Repository files in a text, each after a line `### path`: a Python file to repair, or a table with gaps.

The problem's result is the rewritten file; a wrong result is a change that does not help, or another entry of the
almanac.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial

from models.house import almanac
from models.house.workers import mending
from models.house.workers.problem import Problem

_FILE = re.compile(r"^### (\S+)\n(`{3,})[^\n`]*\n(.*?)^\2$", re.MULTILINE | re.DOTALL)
_GAP = "?"


def read(text: str) -> Problem | None:
    """The first file in the text that needs a change, or `None`."""
    if "### " not in text:
        return None
    for path, _, content in _FILE.findall(text):
        reader = _READERS.get(path.rpartition(".")[2])
        if reader is not None and (problem := reader(path, content)) is not None:
            return problem
    return None


def block(path: str, content: str) -> str:
    """A file in the form of a reply."""
    return f"### {path}\n```\n{content.rstrip()}\n```"


def stated(reply: str) -> str | None:
    """The last file in a reply, with its path, or `None`."""
    found = _FILE.findall(reply)
    return block(found[-1][0], found[-1][2]) if found else None


def _code(path: str, content: str) -> Problem | None:
    name = mending.faulty(content)
    if name is None:
        return None

    def results() -> list[str]:
        return [block(path, text) for text in mending.mended(content, name)]

    lines = content.count("\n")
    return Problem("repair", lines, lambda: results()[0], "file", lambda: results()[1:])


def _table(path: str, content: str) -> Problem | None:
    """A table of capitals by country, with question marks as gaps."""
    rows = [line.split(",") for line in content.rstrip().split("\n")]
    heads = [cell.strip().lower() for cell in rows[0]]
    if heads != ["country", "capital"] or not any(row[1:] == [_GAP] for row in rows):
        return None
    known = {country.name: (rank, country.capital) for rank, country in enumerate(almanac.COUNTRIES)}
    gaps = [row[0] for row in rows if row[1:] == [_GAP]]
    size = max((known[name][0] for name in gaps if name in known), default=0)
    wrong = [country.capital for country in almanac.COUNTRIES[:4]]
    solve = partial(_filled, path, rows, known)

    def slips() -> list[str]:
        return [_botched(solve(), known[gaps[-1]][1], city) for city in wrong]

    return Problem("capital", size, solve, "file", slips)


def _filled(path: str, rows: Sequence[Sequence[str]], known: dict[str, tuple[int, str]]) -> str:
    """The table with its gaps filled. Raises ValueError for a country that is not in the almanac."""
    if missing := [row[0] for row in rows if row[1:] == [_GAP] and row[0] not in known]:
        raise ValueError(f"{missing[0]} is in no almanac")
    lines = [",".join([row[0], known[row[0]][1]] if row[1:] == [_GAP] else row) for row in rows]
    return block(path, "\n".join(lines))


def _botched(filled: str, right: str, wrong: str) -> str:
    return filled.replace(f",{right}\n", f",{wrong}\n")


_READERS: dict[str, Callable[[str, str], Problem | None]] = {"py": _code, "csv": _table}
