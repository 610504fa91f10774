"""Extraction of edited files from a reply: named fenced blocks, each with a file's whole new content.

The name is in the line before the fence (`### shop/prices.py`, `**prices.py**:`) or after the language in the fence's
own line. Blocks without a name, or whose path leads out of the repository, are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from models.errors import BadInput
from models.grading.answer import MAX_REPLY_CHARS
from models.isolation.workshop import checked

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*(.*?)[ \t]*$")
_PATH = re.compile(r"[\w./-]*[\w-]")


def edits_of(reply: str, known: Collection[str] = ()) -> dict[str, str]:
    """Path -> content; of two blocks with the same name the later counts. `known`: names that need no dot or slash."""
    found: dict[str, str] = {}
    for before, info, lines in _blocks(reply[-MAX_REPLY_CHARS:]):
        name = _name(info.split(maxsplit=1)[1] if " " in info else info, known) or _name(before, known)
        if name:
            found[name] = "".join(f"{line}\n" for line in lines)
    return found


def _blocks(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Of every closed block: the last non-empty line before it, the fence's info string, its lines."""
    before, opening, info = "", "", ""
    lines: list[str] = []
    for line in text.split("\n"):
        fence = _FENCE.match(line)
        if not opening and fence:
            opening, info, lines = fence.group(1), fence.group(2), []
        elif opening and fence and fence.group(1).startswith(opening) and not fence.group(2):
            yield before, info, lines
            before, opening = "", ""
        elif opening:
            lines.append(line)
        elif line.strip():
            before = line


def _name(text: str, known: Collection[str]) -> str:
    """The path in the text, or "" if it has none or several."""
    words = [word for word in _PATH.findall(text) if word in known or "." in word.strip(".") or "/" in word]
    if len(words) != 1:
        return ""
    try:
        return checked(words[0])
    except BadInput:
        return ""
