"""Parse OpenAI messages into a worker's role, question and earlier replies.

Besides plain conversations it parses the roles' prompts, which show other workers' replies as messages after the
conversation, and workflow steps: "Step 2, your subtask: ..." after the steps that this step sees. A step's question is
its subtask if that is a complete problem, else the conversation's question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models.fugu.roles import ADVICE, NOW, OBJECTION, PROPOSED, THOUGHT
from models.house.workers.reading import read_alone
from models.workers.ask import text_of

Role = Literal["SOLVER", "THINKER", "VERIFIER"]

_ROLE = re.compile(r"\b(SOLVER|THINKER|VERIFIER)\b")
_OBJECTION = re.compile(OBJECTION.replace("{k}", "[0-9]+"))
_TOLD = re.compile(rf"{THOUGHT.replace('{k}', '[0-9]+')}|{_OBJECTION.pattern}|{ADVICE}|{PROPOSED}")
_ANSWER = re.compile(r"answer:\s*(.+)", re.IGNORECASE)
_STEP = re.compile(r"Step \d+, (your )?subtask: (.*)", re.DOTALL)
_MEMORY = ("Tool results known from earlier in this conversation:", "Earlier subtask of yours:", *NOW.values())


@dataclass(frozen=True)
class Brief:
    """`thoughts`: earlier replies; `asked`: the subtask that each replies to ("" if none); `objections`: to them."""

    role: Role
    question: str
    thoughts: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    proposed: str = ""
    objections: tuple[str, ...] = ()


def read_brief(messages: Sequence[Mapping[str, Any]]) -> Brief:
    """The role from the system messages, the question from the last user message or the subtask, earlier replies."""
    system = "\n".join(text_of(m.get("content")) for m in messages if m.get("role") in ("system", "developer"))
    named = _ROLE.search(system)
    role: Role = named.group(1) if named else "SOLVER"  # type: ignore[assignment]
    question, steps, words = _conversation(messages)
    objections = tuple(text for label, text in words if _OBJECTION.fullmatch(label))
    thoughts = tuple(text for label, text in words if label not in (ADVICE, PROPOSED) and not _OBJECTION.match(label))
    return Brief(
        role=role,
        question=question,
        thoughts=thoughts + tuple(reply for _, reply in steps),
        asked=("",) * len(thoughts) + tuple(subtask for subtask, _ in steps),
        proposed=next((text for label, text in words if label == PROPOSED), ""),
        objections=objections,
    )


_Said = list[tuple[str, str]]


def _conversation(messages: Sequence[Mapping[str, Any]]) -> tuple[str, _Said, _Said]:
    """The question, every visible step's subtask and reply, and replies shown under the roles' labels."""
    question, own, earlier, label = "", "", None, None
    steps, words = _Said(), _Said()
    for message in messages:
        text, role = text_of(message.get("content")), message.get("role")
        if role == "assistant" and earlier is not None:
            steps.append((earlier, text.strip()))
        elif role == "assistant" and label is not None:
            words.append((label, text.strip()))
        elif role == "user" and _TOLD.fullmatch(text):
            label, earlier = text, None
            continue
        elif role == "user" and (step := _STEP.match(text)):
            own, earlier = (step.group(2), None) if step.group(1) else (own, step.group(2))
            continue
        elif role == "user" and not text.startswith(_MEMORY):
            question = text
        earlier = label = None
    return own if read_alone(own) is not None else question, steps, words


def final_answer(reply: str) -> str | None:
    """The text after the last "Answer:", or `None`."""
    found = _ANSWER.findall(reply)
    return found[-1].strip() if found else None
