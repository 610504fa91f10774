"""A conversation as the router reads it: raw `role: content` lines, never a chat template.

Source: TRINITY's released code (seed 000, sections 4 and 6): on its 37 cases the raw text reproduces 95 % of
the choices, a chat template 41 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from models.errors import BadInput
from models.workers.ask import Message, text_of

Whole = TypeVar("Whole", str, list[int])
"""Characters or tokens."""

_STEPS = 8


def ends(whole: Whole, most: int) -> Whole:
    """`whole` where it has at most `most` items, else the first quarter of `most` and as much of its end as fits.

    The beginning says what a conversation is about, the newest turns what is wanted now, and the state that decides is
    read at the very end. What is left out grows by eighths of `most`: of a conversation that goes on the same is read
    for some turns, and what was computed of it need not be computed again.
    """
    if len(whole) <= most:
        return whole
    step = max(1, most // _STEPS)
    out = -(-(len(whole) - most) // step) * step
    first = most // 4
    return whole[:first] + whole[first + out :]


def text(messages: Sequence[Message]) -> str:
    """`role: content`, one message a line; of content in parts only the text is read.

    A message may be empty, a conversation may not. Raises BadInput (field `messages`), also for a text that no
    tokenizer can read: half of a surrogate pair has no bytes.
    """
    if isinstance(messages, str | bytes) or not isinstance(messages, Sequence):
        raise BadInput(f"a conversation is a list of messages, not {type(messages).__name__}", "messages")
    if not messages:
        raise BadInput("the conversation holds no message", "messages")
    whole = "\n".join(f"{_role(message)}: {_text(message.get('content'))}" for message in messages)
    try:
        whole.encode()
    except UnicodeEncodeError:
        raise BadInput("the conversation holds a lone surrogate, which is no character", "messages") from None
    return whole


def _role(message: Message) -> str:
    if not isinstance(message, Mapping):
        raise BadInput(f"a message is an object with role and content, not {type(message).__name__}", "messages")
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise BadInput("every message has a role", "messages")
    return role


def _text(content: Any) -> str:
    if content is not None and not isinstance(content, Sequence):
        raise BadInput(f"content is text or a list of parts, not {type(content).__name__}", "messages")
    return text_of(content)
