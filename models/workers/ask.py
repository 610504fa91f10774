"""Values of a call to a worker: messages, sampling, the ask, its usage and its reply."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from models.digest import json_digest

Message = Mapping[str, Any]
"""OpenAI's chat message: `role`, `content` (text, or a list of parts), and the tool fields."""


def text_of(content: Any, *, mark_others: bool = False) -> str:
    """The text of a message's content: the string, or the texts of a list's parts, joined by newlines; else "".

    Parts without text (an image, a file) are left out, or with `mark_others` replaced by their type: `[image_url]`.
    """
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else ()
    return "\n".join(text for part in parts if (text := _part_text(part, mark_others)) is not None)


def _part_text(part: Any, mark_others: bool) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return None
    if isinstance(text := part.get("text"), str):
        return text
    return f"[{part.get('type', 'part')}]" if mark_others else None


TOKEN_BYTES = 4
"""Bytes per token, to convert a reply's limit (in tokens) into its part of a later prompt (counted in bytes)."""


class Sampling(BaseModel):
    """The fields of a request that affect the reply. Fields that are `None` are not sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | str | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None

    def fields(self) -> dict[str, Any]:
        """The fields that are set, as JSON values."""
        given = {name: value for name, value in self.__dict__.items() if value is not None}
        if all(isinstance(value, str | int | float) for value in given.values()):
            return given  # most requests set no others, and each asks for these often
        return self.model_dump(mode="json", exclude_none=True)


AGAIN = 1 << 20
"""Distance between the replicates of an ask that is repeated within a rollout; those of slots and batches are smaller,
so that no two asks share one."""


class Ask(BaseModel):
    """A request to a worker. Its fields are the call's identity, which is paid once (ARCHITECTURE, decision 1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope: str
    worker: str
    revision: str
    messages: tuple[dict[str, Any], ...]
    sampling: Sampling = Sampling()
    replicate: int = 0

    def payload(self) -> dict[str, Any]:
        """The identity's fields as JSON values."""
        return {
            "scope": self.scope,
            "worker": self.worker,
            "revision": self.revision,
            "messages": list(self.messages),
            "sampling": self.sampling.fields(),
            "replicate": self.replicate,
        }

    @property
    def identity(self) -> str:
        """sha256 (hex) of the canonical JSON of `payload`."""
        return json_digest(self.payload(), compact=True)

    def sample(self, number: int) -> Ask:
        """The `number`-th of several asks for the same: another replicate, and another seed. 0 is the ask itself."""
        if number == 0:
            return self
        return self.model_copy(update={"replicate": self.replicate + number, "sampling": self._reseeded(number)})

    def again(self, times: int) -> Ask:
        """This ask repeated for the `times`-th time: another sample, so another replicate, and another seed if it has
        one. 0 is the ask itself."""
        if times == 0:
            return self
        return self.model_copy(update={"replicate": self.replicate + times * AGAIN, "sampling": self._reseeded(times)})

    def _reseeded(self, number: int) -> Sampling:
        seed = self.sampling.seed
        return self.sampling.model_copy(update={"seed": None if seed is None else seed_for(f"{seed}", number)})


def prompt_bytes(messages: Sequence[Message], sampling: Sampling) -> int:
    """An upper bound on a prompt's tokens, with tools and formats: its JSON has at least as many bytes as tokens.

    All reservations and estimates use it.
    """
    return json_bytes([[dict(message) for message in messages], sampling.fields()])


LONGEST_TOKEN = 128
"""More characters than a token has; the long ones are runs of spaces or of one sign."""


def fewest_tokens(messages: Sequence[Message]) -> int:
    """A lower bound on a prompt's tokens: most tokenizers join no two words, and those that do join few.

    Images, tools and what delimits messages count as nothing.
    """
    words = [word for message in messages for word in text_of(message.get("content")).split()]
    return (len(words) + 1) // 2 + sum((len(word) - 1) // LONGEST_TOKEN for word in words)


def json_bytes(value: Any) -> int:
    """The bytes of the value as JSON in UTF-8. A text takes the same number of bytes within any larger value."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def seed_for(question_id: str, repeat: int) -> int:
    """The `seed` of an ask, from (question, repeat) only, so that all candidate routers get the same replies."""
    return int.from_bytes(hashlib.sha256(f"{question_id}#{repeat}".encode()).digest()[:4]) >> 1


class Usage(BaseModel):
    """Token counts of the upstream. `estimated`: a count is ours, since the upstream's was missing or impossible.

    `completion_tokens` includes hidden thoughts, which `reasoning_tokens` counts. `prompt_tokens` includes those that
    were read from a provider's cache (`cached_tokens`) and those that it wrote there (`cache_creation_tokens`).
    """

    model_config = ConfigDict(frozen=True)

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_creation_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def total(usages: Sequence[Usage]) -> Usage:
    """The sum of the usages; estimated if one of them is."""
    return Usage.model_validate(
        {name: sum(getattr(usage, name) for usage in usages) for name in Usage.model_fields}
        | {"estimated": any(usage.estimated for usage in usages)}
    )


class Reply(BaseModel):
    """A worker's reply. `cost_usd` and `seconds` are of this call only. `logprobs`: of its tokens, in OpenAI's shape,
    where they were asked for and the worker has them. `stopped_at`: the stop at which it ended, where it says so.
    `thoughts`: the worker's visible reasoning, where it shows some."""

    model_config = ConfigDict(frozen=True)

    worker: str
    revision: str
    text: str | None
    finish_reason: str = "stop"
    stopped_at: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    usage: Usage = Usage()
    cost_usd: float = 0.0
    seconds: float = 0.0
    call_id: str = ""
    logprobs: tuple[dict[str, Any], ...] | None = None
    thoughts: str | None = None
