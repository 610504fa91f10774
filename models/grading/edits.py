"""Files in a reply's text: each a fenced block that is named, with its whole new content.

The name stands in the line before the fence (`### shop/prices.py`, `**prices.py**:`) or behind the language in the
fence's own line. A block without a name, or one whose name leads out of a repository, is no file.
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
    """Path -> content; of two blocks with one name the later counts. `known`: names that need no dot or slash."""
    found: dict[str, str] = {}
    for before, info, lines in _blocks(reply[-MAX_REPLY_CHARS:]):
        name = _name(info.split(maxsplit=1)[1] if " " in info else info, known) or _name(before, known)
        if name:
            found[name] = "".join(f"{line}\n" for line in lines)
    return found


def _blocks(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """(the last filled line before it, the fence's info, its lines) of every closed block."""
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
    """The only path that the text holds, or ""."""
    words = [word for word in _PATH.findall(text) if word in known or "." in word.strip(".") or "/" in word]
    if len(words) != 1:
        return ""
    try:
        return checked(words[0])
    except BadInput:
        return ""
