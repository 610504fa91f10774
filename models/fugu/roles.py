"""TRINITY's three roles: their prompts, and the control words that only one role may use.

Source: TRINITY, arXiv 2512.04695, section 3. The wording is our own and versioned by `PROMPTS_VERSION`,
which is part of a rollout's identity: a changed prompt needs a new number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from models.workers.ask import Message

PROMPTS_VERSION = "2"

SCHEDULE_SLOTS = 200
"""Train questions on which the warm start measures constant schedules of roles and fits the role rows, at most."""


class Role(IntEnum):
    """Role ids, in the order of the released head's last three rows."""

    SOLVER = 0
    THINKER = 1
    VERIFIER = 2


DISPATCHER = "Pick one of {workers} workers and its role for the next turn."
"""First line of the router's own text (it is never sent to a worker). Short: the router reads it every turn."""

PROMPTS = {
    Role.SOLVER: (
        "You are the SOLVER. Work out the user's request and give your best final answer. "
        "Earlier thoughts, where there are any, may hold parts of the solution or mistakes."
    ),
    Role.THINKER: (
        "You are the THINKER. Do not answer the user's request. Say in a few words how it should be approached "
        "next, inside <suggestion></suggestion>. You may name who should act next, SOLVER, THINKER or VERIFIER, "
        "inside <suggested_role></suggested_role>."
    ),
    Role.VERIFIER: (
        "You are the VERIFIER. Check the proposed reply to the user's request. Begin with the single word ACCEPT "
        "if it is correct and complete, otherwise with REJECT, then say what is wrong."
    ),
}

THOUGHT, ADVICE, PROPOSED = "Earlier thought {k}:", "Suggestion:", "Proposed reply:"
"""Labels: another worker's text is shown as a separate assistant message after one of these."""

NOW = {
    Role.SOLVER: "Now give your best final answer to the user's request.",
    Role.THINKER: "Now say how the user's request should be approached next.",
    Role.VERIFIER: "Now judge the proposed reply: begin with ACCEPT or with REJECT.",
}
"""The last message, where other workers' texts are shown."""

EMPTY = "(nothing)"
"""Replaces an empty reply: some providers reject a message without text."""

_ACCEPT = re.compile(
    r"""\s* (?:(?:\#{1,6}|[-+*])[ \t]+)*  # heading, bullet
        [*_`]* ACCEPT (?:[*_`]* [ \t]* (?:\Z|[\r\n]) | [*_`]* [ \t]* [.,:\u2013;])""",
    re.VERBOSE,
)
_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_BLOCK = re.compile(r"<(\s*/?\s*reference_thought_)", re.IGNORECASE)
_SUGGESTION = re.compile(r"<suggestion>(.*?)</suggestion>", re.DOTALL)
_SUGGESTED_ROLE = re.compile(r"<suggested_role>\s*(SOLVER|THINKER|VERIFIER|WORKER)\s*</suggested_role>", re.IGNORECASE)


def thought(reply: str) -> str:
    """The part of a SOLVER reply that later turns see: the content of `<think>`, if there is one, else all of it."""
    found = _THINK.search(reply)
    return (found.group(1) if found else reply).strip()


def thought_block(k: int, text: str) -> str:
    """The k-th thought (from 0) as the router reads it. Tags in it are escaped, so it cannot end its block."""
    inside = _BLOCK.sub(r"&lt;\1", text)
    return f"<reference_thought_{k}>{inside}</reference_thought_{k}>"


def accepts(reply: str) -> bool:
    """Whether a VERIFIER's reply accepts; anything else means: continue.

    It must begin, after optional Markdown marks, with the word ACCEPT, followed by the end of the text or line or by
    one of `. , : – ;`. In quotes or in a block quote the word does not count.
    """
    return _ACCEPT.match(reply) is not None


def suggestion(reply: str) -> str | None:
    """A THINKER's advice for the next worker: the content of `<suggestion>`, or `None`."""
    found = _SUGGESTION.search(reply)
    return found.group(1).strip() or None if found else None


def suggested_role(reply: str) -> Role | None:
    """The role that a THINKER names for the next turn, or `None`. The paper calls the SOLVER "Worker"."""
    found = _SUGGESTED_ROLE.search(reply)
    if found is None:
        return None
    name = found.group(1).upper()
    return Role.SOLVER if name == "WORKER" else Role[name]


def messages_for(
    role: Role,
    conversation: Sequence[Message],
    thoughts: Sequence[str] = (),
    advice: str | None = None,
    latest: str | None = None,
) -> list[dict[str, Any]]:
    """The messages sent to a worker in `role`.

    SOLVER: the conversation under the role's prompt, then the earlier thoughts and the last advice.
    THINKER: the conversation, then the thoughts. VERIFIER: the conversation, then the latest SOLVER reply.
    Other workers' texts are separate messages, never part of the system's, so that no text can close its marks and
    continue as the prompt. The conversation itself is unchanged.
    """
    shown: list[tuple[str, str]] = []
    if role is not Role.VERIFIER:
        shown += [(THOUGHT.format(k=k), text) for k, text in enumerate(thoughts)]
    if role is Role.SOLVER and advice:
        shown.append((ADVICE, advice))
    if role is Role.VERIFIER:
        shown.append((PROPOSED, latest or ""))
    messages = [{"role": "system", "content": PROMPTS[role]}, *(dict(m) for m in conversation)]
    for label, text in shown:
        messages += [{"role": "user", "content": label}, {"role": "assistant", "content": text or EMPTY}]
    return [*messages, {"role": "user", "content": NOW[role]}] if shown else messages
