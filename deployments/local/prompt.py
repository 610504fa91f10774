"""Conversations as prompts: what a chat template may need changed, and the plain prompt of a model that has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PLAIN_STOPS = ("\nUser:", "\nSystem:", "\nAssistant:")
"""Where the answer to a plain prompt ends: such a model would go on with the conversation by itself."""

_NAMES = {"system": "System", "user": "User", "assistant": "Assistant"}


def plain_prompt(messages: Sequence[Mapping[str, str]]) -> str:
    """The conversation as lines `User: …`, ending where the assistant begins."""
    lines = [f"{_NAMES[message['role']]}: {message['content'].strip()}" for message in messages]
    return "\n".join([*lines, "Assistant:"])


def merged(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The same conversation of users and assistants alone, in turn: a system message is part of what follows."""
    found: list[dict[str, str]] = []
    for message in messages:
        role = "assistant" if message["role"] == "assistant" else "user"
        if found and found[-1]["role"] == role:
            found[-1]["content"] += f"\n\n{message['content']}"
        else:
            found.append({"role": role, "content": message["content"]})
    return found
