"""The wire formats of answers that are not kept."""

from __future__ import annotations

from deployments.endpoint.answer.format import WireFormat
from deployments.endpoint.wire.anthropic.format import Messages
from deployments.endpoint.wire.chat import ChatCompletions, Taken
from deployments.endpoint.wire.completions import Completions


def wire_formats(taken: Taken) -> tuple[WireFormat, ...]:
    """The first is that of estimates."""
    return ChatCompletions(taken), Completions(), Messages()
