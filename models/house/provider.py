"""Completions by the house workers: models "house/calc", "house/units", and so on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models.digest import json_digest
from models.errors import BadInput
from models.house.workers import answer, coder
from models.house.workers.profiles import PROFILES
from models.workers.ask import text_of

PROVIDER = "house"
COUNTER = "FUGU_HOUSE_COUNTER"
"""Environment variable that names a file: every call appends a line, on disk before the reply is returned."""

BEYOND_TEXT = coder.FIELDS | {"logit_bias", "logprobs", "top_logprobs"}
"""Fields that no house worker honours but those that `honours` names: they are programs that read and write text."""

_PIECE = re.compile(r"\s*\S+\s?")


def check(model: str) -> None:
    """Raises BadInput if the model is not a house worker."""
    if (worker := _worker(model)) not in PROFILES:
        raise BadInput(f"the house has no worker {worker!r}; it has {', '.join(PROFILES)}", "model")


def honours(model: str, field: str) -> bool:
    """Whether the worker's replies can depend on a field of a request, or need not: effort changes no program."""
    if _worker(model) == coder.WORKER and field in coder.FIELDS:
        return True
    return field not in BEYOND_TEXT


def refused(model: str, messages: Sequence[Mapping[str, Any]], fields: Mapping[str, Any]) -> BadInput | None:
    """What the worker would refuse of a request, with the field's name. Nothing is counted as a call."""
    worker = _worker(model)
    if worker == coder.WORKER:
        try:
            _said(worker, messages, fields)
        except BadInput as error:
            return error
    return None


@dataclass(frozen=True)
class Completion:
    """A reply as pieces, which joined are the text, or a tool call, and its token counts. A token is a word."""

    pieces: tuple[str, ...]
    finish_reason: Literal["stop", "length", "tool_calls"]
    prompt_tokens: int
    call: coder.Call | None = None
    id: str = ""

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def completion_tokens(self) -> int:
        return len(self.pieces) if self.call is None else 1 + len(self.call.arguments.split())


def complete(model: str, messages: Sequence[Mapping[str, Any]], sampling: Mapping[str, Any]) -> Completion:
    """The worker's reply under `seed`, `stop`, `max_tokens` and, of `coder`, tools and `response_format`.

    Other fields of `sampling` have no effect. Raises NotFound for an unknown worker, BadInput for a field of a request
    that the worker cannot honour.
    """
    worker, seed = _worker(model), sampling.get("seed")
    said = _said(worker, messages, sampling)
    _count(worker, messages, seed)
    prompt_tokens = sum(len(text_of(message.get("content")).split()) for message in messages)
    if isinstance(said, coder.Call):
        return Completion((), "tool_calls", prompt_tokens, said, f"call_{call_digest(messages, seed)[:24]}")
    pieces = tuple(_PIECE.findall(_before_stop(said, sampling.get("stop"))))
    limit = sampling.get("max_completion_tokens") or sampling.get("max_tokens") or len(pieces)
    return Completion(pieces[:limit], "length" if limit < len(pieces) else "stop", prompt_tokens)


def _worker(model: str) -> str:
    return model.removeprefix(f"{PROVIDER}/")


def _said(worker: str, messages: Sequence[Mapping[str, Any]], fields: Mapping[str, Any]) -> str | coder.Call:
    if worker == coder.WORKER and any(fields.get(name) is not None for name in coder.FIELDS):
        return coder.shaped(messages, fields, fields.get("seed"))
    return answer(worker, messages, fields.get("seed"))


def call_digest(messages: Sequence[Mapping[str, Any]], seed: int | None) -> str:
    """A call's name in the counter file: sha256 (hex) of its messages and seed."""
    return json_digest([list(messages), seed])


def _before_stop(text: str, stop: str | Sequence[str] | None) -> str:
    for ending in (stop,) if isinstance(stop, str) else stop or ():
        if ending:  # an empty string is ignored
            text = text.split(ending, 1)[0]
    return text


def _count(worker: str, messages: Sequence[Mapping[str, Any]], seed: int | None) -> None:
    path = os.environ.get(COUNTER)
    if not path:
        return
    line = json.dumps({"worker": worker, "digest": call_digest(messages, seed)}) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
