"""Extraction of the final answer from a free-text reply."""

from __future__ import annotations

import re

MAX_REPLY_CHARS = 200_000  # of a longer reply only the end is graded: final answers are there

_MARKER = re.compile(
    r"(?:answers?|\bans\.?)[*_]{0,3}(?:\s{1,4}(?:is|are))?[\s*_]{0,8}[:：][ \t*_]{0,8}|答案[是为]?\s{0,4}[:：]?"
    r"|^[ \t]*####[ \t]*(?=[-+−–$€£¥\\.\d(]|[a-z][).]?\s*$)"  # GSM8K's
    r"|^[ \t]*(?:\#+[ \t]*[*_]{0,3}|[*_]{2,3})(?:final[ \t]+)?answer[*_]{0,3}[ \t]*$",  # a heading
    re.IGNORECASE | re.MULTILINE,
)
_STATED = re.compile(
    r"answers?\s{1,4}(?:(?:is|are|must be|equals)\s{1,4}|=\s{0,4}|[-–—]\s{1,4})(?!not\b|wrong\b|correct\b|right\b)",
    re.IGNORECASE,
)
_OF_DOUBT = re.compile(r"\b(?:confiden|certain|probab|likel|sure)\w*\b", re.IGNORECASE)
_CERTAINTY = re.compile(
    r"^[ \t>*_#-]{0,8}(?:my |overall )?(?:confidence|certainty)(?: level| score)?[ \t*_]{0,4}[:=(][^\n]*$"
    r"|\bI(?:'m|’m| am) (?:about |around )?\d{1,3}(?:\.\d{1,9})? ?% (?:sure|confident|certain)[^.\n]{0,80}\.?"
    r"|\bI hope (?:it|this|that) (?:is correct|helps)[.!]?|<\|im_(?:start|end)\|>[^\n]{0,20}",
    re.IGNORECASE | re.MULTILINE,
)
_BOX = re.compile(r"\\f?box(?:ed)?(?![A-Za-z])\s*")
_BETWEEN = re.compile(r"(?:[\s,;$.]|\\[,;() ]|\\q?quad|\\text\s*\{\s*(?:and|or),?\s*\}|\band\b|\bor\b){1,40}")
_MAX_BOX = 5_000
_FENCE = re.compile(r"^```.*$", re.MULTILINE)
_BULLET = re.compile(r"[-*•][ \t]+")
_MAX_LINES = 40  # of an answer that is one formula, and boxes that are looked at


def marked_answer(reply: str) -> str | None:
    r"""The text that the reply marks as its answer, or None where it marks none.

    The last \boxed{...}, else the line after the last "Answer:" ("**Final answer**:", "The answer is:", "#### 42"),
    and the lines after it while a formula or a fence is open.
    """
    text = graded_part(reply)
    box = boxed(text)
    if box is not None:
        return box
    starts = [found.end() for found in _MARKER.finditer(text) if not _of_doubt(text, found.start())]
    return _first_line(text[starts[-1] :]) if starts else None


def stated_answer(reply: str) -> str | None:
    """The rest of the line that follows the last "the answer is", or None."""
    text = graded_part(reply)
    starts = [found.end() for found in _STATED.finditer(text)]
    return text[starts[-1] :].strip().split("\n")[0] if starts else None


def final_answer(reply: str) -> str:
    """The marked answer, else the stated one, else the whole reply; trimmed, without statements of confidence."""
    marked = marked_answer(reply)
    if marked is None:
        marked = stated_answer(reply)
    return graded_part(reply).strip() if marked is None else marked


def graded_part(reply: str) -> str:
    """The part of the reply that is graded: its end, without lines and sentences that state confidence."""
    text = reply[-MAX_REPLY_CHARS:]
    return _CERTAINTY.sub("", text)


def _of_doubt(text: str, start: int) -> bool:
    """Whether the line states confidence before the marker at `start`: "my confidence in this answer: 95%"."""
    before = text[max(0, start - 80) : start]
    return _OF_DOUBT.search(before, before.rfind("\n") + 1) is not None


def _first_line(text: str) -> str:
    """The first line that is not empty, and those after it while a formula, a fence or a brace is open."""
    lines = text.lstrip().split("\n", _MAX_LINES)[:_MAX_LINES]
    if "\n" in text[: len(text) - len(text.lstrip())]:
        lines[0] = _BULLET.sub("", lines[0], count=1)  # at the start of a new line a dash is a bullet, not a minus
    for count in range(1, len(lines) + 1):
        part = "\n".join(lines[:count])
        if not _is_open(part[:2_000]):
            return _FENCE.sub("", part).strip() if part.startswith("```") else part.strip()
    return lines[0].strip()


def _is_open(text: str) -> bool:
    pairs = [("\\[", "\\]"), ("\\(", "\\)"), ("{", "}"), ("\\begin", "\\end")]
    if text.count("$$") % 2 or text.count("```") % 2 or not text.strip("*_#> \t\n"):
        return True
    return any(text.count(left) > text.count(right) for left, right in pairs) or text.rstrip("* ").endswith((":", "="))


def boxed(text: str) -> str | None:
    r"""The content of the last LaTeX `\boxed{...}` (`\boxed 5` and `\fbox{5}` too), or None.

    Boxes with nothing but a comma or an "and" between them are one answer: "1, 2".
    """
    contents: list[str] = []
    end = 0
    for found in list(_BOX.finditer(text))[-_MAX_LINES:]:
        content, stop = _content(text, found.end())
        if content is None:
            continue
        contents = [*contents, content] if contents and _BETWEEN.fullmatch(text, end, found.start()) else [content]
        end = stop
    return ", ".join(contents) if contents else None


def _content(text: str, start: int) -> tuple[str | None, int]:
    """The content of the braces that open at `start`, or the word there; and its end."""
    if start == len(text):
        return None, start
    if text[start] != "{":
        word = text[start:].split(maxsplit=1)[0]
        return word.rstrip("$.,"), start + len(word)
    depth = 0
    for index in range(start, min(len(text), start + _MAX_BOX)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[start + 1 : index].strip(), index + 1
    return None, start
