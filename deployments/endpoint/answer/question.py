"""A question as a client asked it, in no wire format, and the checks that depend on the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from deployments.endpoint.wire.extension import Extension
from models.digest import json_digest
from models.errors import BadInput
from models.ledger.access.policy import SCOPES, Policy
from models.ledger.access.purses import Purse
from models.workers.ask import Message, Sampling, text_of

TOOL_FIELDS = ("tools", "tool_choice", "parallel_tool_calls")

KINDS = {"image_url": "images", "input_audio": "audio", "file": "files"}
"""The type of a message's part -> what a person calls it."""

LIMITS = ("max_usd", "max_calls", "max_seconds")
"""Of a request, in its field `fugu` and in its key's policy."""

OF_EVERY_MODEL = frozenset({"allowed_workers", "failover", "conversation", "show_work", *LIMITS})
"""Fields of `fugu` that every model honours."""

OF_ROUTERS = frozenset({"cost_weight"})
"""Those that only `fugu` and `trinity` do; the others are of conducted requests."""


PIN_DIGITS, LEAST_DIGITS = 12, 6
"""Of a digest, in a pinned model's name, and at least, where it is asked for."""


def pin_of(model: str, digest: str) -> str:
    """The name of one version of a model."""
    return f"{model}@{digest[:PIN_DIGITS]}"


def is_pin_of(digest: str, pin: str) -> bool:
    return len(pin) >= LEAST_DIGITS and digest.startswith(pin)


@dataclass(frozen=True)
class Caller:
    """Who asks. `key`: the id of the API key, which is no secret; `None`: no key is needed here. `name`: the key's."""

    key: str | None = None
    name: str = ""
    policy: Policy = Policy(scopes=SCOPES)  # noqa: RUF009 - a frozen value

    @property
    def purse(self) -> Purse | None:
        """The budgets that its calls draw on, if it has some."""
        return None if self.key is None else Purse.of(self.key, self.name, self.policy)

    def own(self, name: str) -> str:
        """The caller's name of something, for the ledger: equal names of two keys are two."""
        return name if self.key is None else _own(self.key, name)


@lru_cache(maxsize=1024)
def _own(key: str, name: str) -> str:
    return json_digest([key, name])


ANYONE = Caller()


@dataclass(frozen=True)
class Key:
    """An Idempotency-Key: its digest, which alone is kept, and the id of the request that it names."""

    digest: str
    id: str


@dataclass(frozen=True)
class Question:
    """`id`: a new one. `messages`: in OpenAI's chat shape, as workers get them. `workers`: the header X-Fugu-Workers.

    `include_usage`: whether a stream reports usage. `user`: the caller's own name for its user. `session`: its name for
    the conversation, or for the prompt that a provider may have cached. `notes`: what of the request was left out or
    mapped, one sentence each, for the trace. `show_work`: whether the work behind the answer is asked for beside it.
    `reasons`: whether an answering worker's visible reasoning is wanted, as the form asks for it.
    `choices`: how many answers are wanted. `caller`: who asks; what is stored for one caller is for no other.
    """

    id: str
    model: str
    messages: Sequence[Message]
    sampling: Sampling
    fugu: Extension
    workers: str | None
    key: Key | None
    stream: bool
    include_usage: bool
    user: str | None
    session: str | None = None
    notes: tuple[str, ...] = ()
    show_work: bool = False
    reasons: bool = False
    choices: int = 1
    caller: Caller = ANYONE

    @property
    def name(self) -> str:
        """The model's name, without the version that it may be pinned to."""
        return self.model.partition("@")[0]

    @property
    def pin(self) -> str | None:
        """The beginning of the digest of the version that is asked for; `None`: the one that serves now."""
        _, at, digest = self.model.partition("@")
        return digest if at else None

    @property
    def shows_work(self) -> bool:
        """Whether plan, steps and turns are shown. A key that may not see them is refused where it asks for them."""
        return self.show_work

    def limit(self, name: str, default: float | None = None) -> float | None:
        """One of `LIMITS`: the request's own, at most its key's; `default` where neither is given."""
        given = [getattr(self.fugu, name), getattr(self.caller.policy, name)]
        return min((limit for limit in given if limit is not None), default=default)

    def wanted(self) -> list[str] | None:
        """The caller's own list of workers: where the field and the header are both given, those in both.

        Raises BadInput for a header without a name.
        """
        listed = self.fugu.allowed_workers
        if self.workers is None:
            return listed
        named = [name.strip() for name in self.workers.split(",") if name.strip()]
        if not named:
            raise BadInput("X-Fugu-Workers names no worker", "X-Fugu-Workers")
        return named if listed is None else [name for name in listed if name in named]

    @cached_property
    def conversation_key(self) -> str:
        """sha256 (hex) of what names the conversation: `fugu.conversation`, the client's session, or its beginning."""
        named = self.fugu.conversation or self.session
        whose = self.user if self.caller.key is None else [self.caller.key, self.user]
        if named is not None:
            return json_digest(["named", whose, named])
        beginning: list[list[str]] = []
        for message in self.messages:
            beginning.append([str(message["role"]), text_of(message.get("content"), mark_others=True)])
            if message["role"] == "user":
                break
        return json_digest(["begins", whose, beginning])

    @property
    def kinds(self) -> set[str]:
        """What a worker has to read beside text: `images`, `audio`, `files`."""
        contents = (message.get("content") for message in self.messages)
        parts = (part["type"] for content in contents if isinstance(content, list) for part in content)
        return {KINDS[part] for part in parts if part in KINDS}

    def refuse_conducting(self) -> None:
        """Raises BadInput for a field of `fugu` that only a conducted request can honour."""
        for name in self.fugu.model_fields_set - OF_EVERY_MODEL - OF_ROUTERS:
            if getattr(self.fugu, name) is not None:
                raise BadInput(f"fugu.{name} is not for the model {self.model!r}; use 'fugu-ultra'", f"fugu.{name}")

    def refuse_routing(self) -> None:
        """Raises BadInput for a field of `fugu` that only a router can honour."""
        for name in self.fugu.model_fields_set & OF_ROUTERS:
            if getattr(self.fugu, name) is not None:
                message = f"fugu.{name} is not for the model {self.model!r}, whose plan says who is asked"
                raise BadInput(f"{message}; fugu.max_usd limits what it costs", f"fugu.{name}")

    def refuse_samples(self) -> None:
        """Raises BadInput for what only one worker's own reply can have: choices, and log probabilities."""
        for name, given in (("n", self.choices > 1), ("logprobs", self.sampling.logprobs)):
            if given:
                raise BadInput(f"{name} is not for the model {self.model!r}; use 'fugu'", name)

    def refuse_tools(self) -> None:
        """Raises BadInput where this is a turn of a tool conversation."""
        for name in TOOL_FIELDS:
            if getattr(self.sampling, name) is not None:
                raise BadInput(f"{name} is not for the model {self.model!r}; use 'fugu'", name)
        for index, message in enumerate(self.messages):
            if message["role"] == "tool" or message.get("tool_calls"):
                where = f"messages[{index}]"
                raise BadInput(f"{where}: tool turns are not for the model {self.model!r}; use 'fugu'", where)

    def tool_results(self) -> dict[str, str]:
        """The results that the conversation ends with: call id -> text. Raises BadInput for one that is no text."""
        found: dict[str, str] = {}
        for index in range(len(self.messages) - 1, -1, -1):
            message, where = self.messages[index], f"messages[{index}]"
            if message["role"] != "tool":
                break
            if message["tool_call_id"] in found:
                raise BadInput(f"{where}: a second result of one call", f"{where}.tool_call_id")
            found[message["tool_call_id"]] = _text(message["content"], f"{where}.content")
        return dict(reversed(found.items()))


def _text(content: Any, where: str) -> str:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if any(part["type"] != "text" for part in parts):
        raise BadInput(f"{where}: a tool's result has to be text", where)
    return "".join(part["text"] for part in parts)
