"""A conversation as the router reads it: raw `role: content` lines, never a chat template.

Source: TRINITY's released code (arXiv 2512.04695): on its 37 cases the raw text reproduces 95 % of
the choices, a chat template 41 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from models.errors import BadInput
from models.workers.ask import Message, text_of

Whole = TypeVar("Whole", str, list[int])
"""A text, or token ids."""

_STEPS = 8


def ends(whole: Whole, most: int) -> Whole:
    """`whole` if it has at most `most` items, else its first `most` / 4 and as much of its end as fits.

    The beginning gives the topic, the newest turns the current request, and the deciding hidden state is read at the
    very end. The omitted middle grows in steps of `most` / 8: over some turns a growing conversation keeps the same
    prefix, so that its cached keys and values can be reused.
    """
    if len(whole) <= most:
        return whole
    step = max(1, most // _STEPS)
    out = -(-(len(whole) - most) // step) * step
    first = most // 4
    return whole[:first] + whole[first + out :]


def text(messages: Sequence[Message]) -> str:
    """`role: content`, one message per line; of content in parts only the text is read.

    A message may be empty, a conversation may not. Raises BadInput (field `messages`), also for a text with a lone
    surrogate, which cannot be encoded.
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
