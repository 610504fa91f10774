"""The house workers as a provider in this process: replies in OpenAI's format around `provider.complete`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.errors import BadInput, NotFound, UpstreamRefused
from models.house.provider import PROVIDER, Completion, complete
from models.workers.pool import Worker
from models.workers.translation import provide


def register() -> None:
    """Let the house answer for the models `house/…`. Idempotent."""
    provide(PROVIDER, answered)


def answered(worker: Worker, fields: Mapping[str, Any], stream: bool) -> list[dict[str, Any]]:
    """As in `translation.Program`. Raises UpstreamRefused: 404 for an unknown worker, 400 for a field."""
    try:
        completion = complete(worker.model, fields["messages"], fields)
    except NotFound as error:
        raise _refused(worker, str(error), 404) from None
    except BadInput as error:
        raise _refused(worker, f"{error.field}: {error}", 400) from None
    return _events(completion) if stream else [_body(completion)]


def _refused(worker: Worker, message: str, status: int) -> UpstreamRefused:
    return UpstreamRefused(f"worker {worker.name!r}: {message}", status, answered=False)


def _body(completion: Completion) -> dict[str, Any]:
    message = {"role": "assistant", "content": completion.text or None, "tool_calls": _calls(completion)}
    choice = {"index": 0, "message": message, "finish_reason": completion.finish_reason}
    return {"choices": [choice], "usage": _usage(completion)}


def _events(completion: Completion) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"content": piece} for piece in completion.pieces]
    deltas += [{"tool_calls": [{"index": 0, **call}]} for call in _calls(completion) or ()]
    events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    last = {"index": 0, "delta": {}, "finish_reason": completion.finish_reason}
    return [*events, {"choices": [last], "usage": _usage(completion)}]


def _calls(completion: Completion) -> list[dict[str, Any]] | None:
    """The tool call in OpenAI's form."""
    call = completion.call
    if call is None:
        return None
    return [{"id": completion.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}]


def _usage(completion: Completion) -> dict[str, int]:
    prompt, words = completion.prompt_tokens, completion.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": words, "total_tokens": prompt + words}
