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
from models.house.workers import answer
from models.house.workers.profiles import PROFILES
from models.workers.ask import text_of

PROVIDER = "house"
COUNTER = "FUGU_HOUSE_COUNTER"
"""Environment variable that names a file: every call appends a line, on disk before the reply is returned."""

_PIECE = re.compile(r"\s*\S+\s?")


def check(model: str) -> None:
    """Raises BadInput if the model is not a house worker."""
    if (worker := model.removeprefix(f"{PROVIDER}/")) not in PROFILES:
        raise BadInput(f"the house has no worker {worker!r}; it has {', '.join(PROFILES)}", "model")


@dataclass(frozen=True)
class Completion:
    """A reply as pieces, which joined are the text, and its token counts. A token is a word."""

    pieces: tuple[str, ...]
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def complete(model: str, messages: Sequence[Mapping[str, Any]], sampling: Mapping[str, Any]) -> Completion:
    """The worker's reply under `seed`, `stop` and `max_tokens`; other fields of `sampling` have no effect.

    Raises NotFound for an unknown worker.
    """
    worker, seed = model.removeprefix(f"{PROVIDER}/"), sampling.get("seed")
    text = _before_stop(answer(worker, messages, seed), sampling.get("stop"))
    pieces = tuple(_PIECE.findall(text))
    limit = sampling.get("max_completion_tokens") or sampling.get("max_tokens") or len(pieces)
    _count(worker, messages, seed)
    prompt_tokens = sum(len(text_of(message.get("content")).split()) for message in messages)
    return Completion(pieces[:limit], "length" if limit < len(pieces) else "stop", prompt_tokens)


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
