"""What a worker is asked to do, read from OpenAI messages as an LLM would read them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["SOLVER", "THINKER", "VERIFIER"]

_ROLE = re.compile(r"\b(SOLVER|THINKER|VERIFIER)\b")
_THOUGHT = re.compile(r"<reference_thought_\d+>(.*?)</reference_thought_\d+>", re.DOTALL)
_SUGGESTION = re.compile(r"<suggestion>(.*?)</suggestion>", re.DOTALL)
_PROPOSED = re.compile(r"<proposed_reply>(.*?)</proposed_reply>", re.DOTALL)
_ANSWER = re.compile(r"answer:\s*(.+)", re.IGNORECASE)


@dataclass(frozen=True)
class Brief:
    role: Role
    question: str
    thoughts: tuple[str, ...] = ()
    proposed: str = ""


def text_of(content: Any) -> str:
    """A message's content as text: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping)).strip()
    return ""


def read_brief(messages: Sequence[Mapping[str, Any]]) -> Brief:
    """The role and its material from the system messages, the question from the last user message."""
    system = "\n".join(text_of(m.get("content")) for m in messages if m.get("role") in ("system", "developer"))
    asked = [text_of(m.get("content")) for m in messages if m.get("role") == "user"]
    named = _ROLE.search(system)
    role: Role = named.group(1) if named else "SOLVER"  # type: ignore[assignment]
    proposed = _PROPOSED.search(system)
    return Brief(
        role=role,
        question=asked[-1] if asked else "",
        thoughts=tuple(found.strip() for found in _THOUGHT.findall(system)),
        proposed=proposed.group(1).strip() if proposed else "",
    )


def final_answer(reply: str) -> str | None:
    """What stands after the last "Answer:", or `None`."""
    found = _ANSWER.findall(reply)
    return found[-1].strip() if found else None
