"""TRINITY's three roles: their prompts, and the control words that only one role may use.

Source: TRINITY, arXiv 2512.04695, section 3. The wording is our own and versioned by `PROMPTS_VERSION`,
which is part of a rollout's identity: a changed prompt needs a new number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from models.workers.ask import Message

PROMPTS_VERSION = "3"

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
        "Earlier thoughts, where there are any, may hold parts of the solution or mistakes. "
        "Where a verifier objected to one, correct what the objection is right about."
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

THOUGHT, OBJECTION, ADVICE = "Earlier thought {k}:", "A verifier's objection to thought {k}:", "Suggestion:"
PROPOSED = "Proposed reply:"
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
_THINKING = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
_TAGS = {Role.SOLVER: "reference_thought", Role.THINKER: "advice", Role.VERIFIER: "objection"}
_MARK = re.compile(rf"<(?=[\s/]*(?:{'|'.join(_TAGS.values())})_)", re.IGNORECASE)
_SUGGESTION = re.compile(r"<suggestion>(.*?)</suggestion>", re.DOTALL)
_SUGGESTED_ROLE = re.compile(r"<suggested_role>\s*(SOLVER|THINKER|VERIFIER|WORKER)\s*</suggested_role>", re.IGNORECASE)
_CONTROL = re.compile(rf"{_SUGGESTED_ROLE.pattern}|</?suggestion>", re.IGNORECASE)


@dataclass(frozen=True)
class Note:
    """What a turn leaves to the later ones: a SOLVER's thought, a THINKER's advice or a VERIFIER's objection.

    `number` counts thoughts, and pieces of advice, from 0; an objection has the number of the thought it judges.
    """

    role: Role
    number: int
    text: str

    @property
    def block(self) -> str:
        """The note as the router reads it. The marks of any note in its text are escaped, so it cannot end its own."""
        name = f"{_TAGS[self.role]}_{self.number}"
        return f"<{name}>{_MARK.sub('&lt;', self.text)}</{name}>"

    @property
    def label(self) -> str:
        """The message before the one that shows the note to a worker."""
        return {Role.SOLVER: THOUGHT, Role.THINKER: ADVICE, Role.VERIFIER: OBJECTION}[self.role].format(k=self.number)


def note_of(role: Role, reply: str, earlier: Sequence[Note]) -> Note:
    """What `reply`, a `role`'s, leaves to the turns after the `earlier` notes."""
    if role is Role.SOLVER:
        return Note(role, _count(earlier, role), thought(reply))
    if role is Role.THINKER:
        return Note(role, _count(earlier, role), advice(reply))
    return Note(role, _count(earlier, Role.SOLVER) - 1, _said(reply))


def _count(notes: Sequence[Note], role: Role) -> int:
    return sum(note.role is role for note in notes)


def _said(reply: str) -> str:
    """A reply without the thinking that some models write before it."""
    return _THINKING.sub("", reply, count=1).strip() if _THINKING.match(reply) else reply.strip()


def thought(reply: str) -> str:
    """The part of a SOLVER reply that later turns see: the content of `<think>`, if there is one, else all of it."""
    found = _THINK.search(reply)
    return (found.group(1) if found else reply).strip()


def accepts(reply: str) -> bool:
    """Whether a VERIFIER's reply accepts; anything else means: continue.

    It must begin, after `<think>` and optional Markdown marks, with the word ACCEPT, followed by the end of the text or
    line or by one of `. , : – ;`. In quotes or in a block quote the word does not count.
    """
    return _ACCEPT.match(_said(reply)) is not None


def suggestion(reply: str) -> str | None:
    """The content of a THINKER's `<suggestion>`, or `None`."""
    found = _SUGGESTION.search(reply)
    return found.group(1).strip() or None if found else None


def advice(reply: str) -> str:
    """A THINKER's advice: its `<suggestion>`, or, of a model that forgot the tags, all that it said."""
    return suggestion(reply) or _CONTROL.sub("", _said(reply)).strip()


def suggested_role(reply: str) -> Role | None:
    """The role that a THINKER names for the next turn, or `None`. The paper calls the SOLVER "Worker"."""
    found = _SUGGESTED_ROLE.search(reply)
    if found is None:
        return None
    name = found.group(1).upper()
    return Role.SOLVER if name == "WORKER" else Role[name]


def messages_for(
    role: Role, conversation: Sequence[Message], notes: Sequence[Note] = (), latest: str | None = None
) -> list[dict[str, Any]]:
    """The messages sent to a worker in `role`.

    SOLVER and THINKER: the conversation under the role's prompt, then the notes of the earlier turns, in their order.
    VERIFIER: the conversation, then the latest SOLVER reply, and no one's opinion of an earlier one.
    Other workers' texts are separate messages, never part of the system's, so that no text can close its marks and
    continue as the prompt. The conversation itself is unchanged.
    """
    shown = [(note.label, note.text) for note in notes if note.text or note.role is Role.SOLVER]
    if role is Role.VERIFIER:
        shown = [(PROPOSED, latest or "")]
    messages = [{"role": "system", "content": PROMPTS[role]}, *(dict(m) for m in conversation)]
    for label, text in shown:
        messages += [{"role": "user", "content": label}, {"role": "assistant", "content": text or EMPTY}]
    return [*messages, {"role": "user", "content": NOW[role]}] if shown else messages
