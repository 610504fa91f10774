"""TRINITY's three roles: their prompts, and the control words that each role alone may say.

Source: TRINITY, arXiv 2512.04695, section 3. The wording is our own and versioned by `PROMPTS_VERSION`,
which is part of a rollout's identity: change a prompt, change the number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from models.workers.ask import Message

PROMPTS_VERSION = "1"


class Role(IntEnum):
    """Ids are the order of the released head's last three rows."""

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

_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_SUGGESTION = re.compile(r"<suggestion>(.*?)</suggestion>", re.DOTALL)
_SUGGESTED_ROLE = re.compile(r"<suggested_role>\s*(SOLVER|THINKER|VERIFIER|WORKER)\s*</suggested_role>", re.IGNORECASE)


def thought(reply: str) -> str:
    """What later turns see of a SOLVER reply: the content of `<think>`, if there is one, else all of it."""
    found = _THINK.search(reply)
    return (found.group(1) if found else reply).strip()


def thought_block(k: int, text: str) -> str:
    """The k-th thought (from 0) as both the router and the workers read it."""
    return f"<reference_thought_{k}>{text}</reference_thought_{k}>"


def accepts(reply: str) -> bool:
    """Whether a VERIFIER's reply starts with ACCEPT (any other start means: continue)."""
    return re.match(r"\W*ACCEPT(?:ED)?\b", reply) is not None


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
    """What a worker is sent in `role`.

    SOLVER: the conversation under the role's prompt, with the earlier thoughts and the last advice.
    THINKER: the conversation with the thoughts. VERIFIER: the conversation and the latest SOLVER reply.
    The additions stand in the system message, delimited, so that the conversation itself stays as it came.
    """
    parts = [PROMPTS[role]]
    if role is not Role.VERIFIER:
        parts += [thought_block(k, text) for k, text in enumerate(thoughts)]
    if role is Role.SOLVER and advice:
        parts.append(f"<suggestion>{advice}</suggestion>")
    if role is Role.VERIFIER:
        parts.append(f"<proposed_reply>{latest or ''}</proposed_reply>")
    return [{"role": "system", "content": "\n".join(parts)}, *(dict(m) for m in conversation)]
