"""A worker: a model that can be asked, with all that its provider needs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.digest import json_digest
from models.errors import MissingKey
from models.workers.fitting.stated import (
    VARIABLE,
    address_problem,
    headers_problem,
    is_one_line,
    params_problem,
    refusing,
)


class Value(BaseModel):
    """A frozen value that refuses unknown fields, and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Price(Value):
    """USD per million tokens. `cached_input_per_million`: of a prompt's tokens that the provider had in its cache;
    `None`: as the others."""

    input_per_million: float = Field(default=0.0, ge=0, le=1e8)
    output_per_million: float = Field(default=0.0, ge=0, le=1e8)
    cached_input_per_million: float | None = Field(default=None, ge=0, le=1e8)

    def usd(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """`cached_tokens`: of the prompt's. They never cost more than others, so that without them it is the most."""
        cost = prompt_tokens * self.input_per_million + completion_tokens * self.output_per_million
        if self.cached_input_per_million is not None:
            cost -= cached_tokens * max(0.0, self.input_per_million - self.cached_input_per_million)
        return cost / 1e6


class Timeouts(Value):
    """Seconds until a connection is made, until the first event of a stream, between two, and until the end of the
    reply; `None`: until the end."""

    connect_s: float = Field(default=10.0, gt=0, le=3600)
    first_token_s: float | None = Field(default=None, gt=0, le=86_400)
    between_tokens_s: float | None = Field(default=None, gt=0, le=86_400)
    total_s: float = Field(default=120.0, gt=0, le=86_400)


class Limits(Value):
    """`max_output_tokens`: of each call; always sent, since it bounds the price. `concurrency`: calls in flight of one
    process. Over all processes that share the ledger: `in_flight`, and the provider's requests and tokens per minute;
    `None` is no limit."""

    max_output_tokens: int = Field(default=4096, gt=0, le=10_000_000)
    concurrency: int = Field(default=8, gt=0, le=10_000)
    in_flight: int | None = Field(default=None, gt=0, le=10_000)
    requests_per_minute: float | None = Field(default=None, gt=0, le=1e7)
    tokens_per_minute: float | None = Field(default=None, gt=0, le=1e12)


class Abilities(Value):
    """What a worker can do beside plain text; `None`: what litellm knows of its model.

    `hosted_tools`: kinds of tools of its provider, as a request names them (`web_search`), that it is passed.
    """

    tools: bool | None = None
    images: bool | None = None
    audio: bool | None = None
    files: bool | None = None
    structured_output: bool | None = None
    reasoning: bool | None = None
    hosted_tools: tuple[str, ...] = ()


LOCAL = "local/"
"""What the model's name of a local worker begins with."""

MAX_NAME = 200

_MOVED = {"connect_timeout_s": "connect_s", "total_timeout_s": "total_s"}
"""Fields of `limits` in older pool files, and their names in `timeouts`."""

_NAME_OF_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def name_problem(name: str) -> str | None:
    """The reason why a name cannot be used in headers (X-Fugu-Worker, X-Fugu-Workers), or `None` if it can."""
    printable = name.isascii() and name.isprintable()
    if 1 <= len(name) <= MAX_NAME and printable and "," not in name and name == name.strip():
        return None
    return f"a worker's name is 1 to {MAX_NAME} printable ASCII characters without a comma and without outer spaces"


class Worker(Value):
    """A model that can be asked.

    `model`: litellm's name for it. `params`: parameters of litellm or the provider that are sent unless the request has
    its own (temperature, reasoning_effort, thinking, extra_body, ...). `headers`: sent, too; `${NAME}` in a value is an
    environment variable. `key_env`: the variable that holds its key, or several, which take turns. `context`: the most
    tokens of a prompt with its reply. `limit_field`: the provider's name for the limit on a reply's tokens, where
    litellm cannot derive it from the model's name (an alias, say, or a deployment's name).
    """

    name: str
    model: str = Field(min_length=1)
    stated_revision: str = Field(default="1", alias="revision")
    price: Price | None = None
    params: dict[str, Any] = {}
    headers: dict[str, str] = {}
    key_env: str | tuple[str, ...] | None = None
    api_base: str | None = None
    api_version: str | None = None
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    context: int | None = Field(default=None, gt=0)
    limit_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    vendor: str | None = None
    region: str | None = None
    local: bool = False
    tags: tuple[str, ...] = ()
    abilities: Abilities = Abilities()

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, given: Any) -> Any:
        """`max_tokens` stands for `limits.max_output_tokens`; times in `limits`, as older files have them, move."""
        if not isinstance(given, Mapping):
            return given
        fields = dict(given)
        limits, times = fields.get("limits"), fields.get("timeouts")
        if isinstance(limits, Mapping):
            limits = dict(limits)
            if any(name in limits for name in _MOVED) and isinstance(times, Mapping | Timeouts | None):
                moved = {new: limits.pop(old) for old, new in _MOVED.items() if old in limits}
                fields["timeouts"] = moved | dict(times or {})
            fields["limits"] = limits
        if "max_tokens" in fields:
            most = fields.pop("max_tokens")
            if isinstance(limits, Limits) or (
                isinstance(limits, dict) and limits.get("max_output_tokens", most) != most
            ):
                raise ValueError("max_tokens and limits.max_output_tokens are the same limit: write one of them")
            if limits is None or isinstance(limits, dict):  # what else it is is told as what it is
                fields["limits"] = (limits or {}) | {"max_output_tokens": most}
        return fields

    @field_validator("name")
    @classmethod
    def _fits_a_header(cls, name: str) -> str:
        if (problem := name_problem(name)) is not None:
            raise ValueError(f"{problem}, not {name!r}")
        return name

    @field_validator("key_env")
    @classmethod
    def _are_variables(cls, names: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        """The key itself is refused, and not repeated in the message."""
        each = (names,) if isinstance(names, str) else names
        if each is not None and not (each and all(_NAME_OF_VARIABLE.fullmatch(name) for name in each)):
            raise ValueError("key_env is the name of an environment variable, or a list of names")
        return names

    @field_validator("params")
    @classmethod
    def _no_others_business(cls, params: dict[str, Any]) -> dict[str, Any]:
        return refusing(params_problem(params), params)

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: dict[str, str]) -> dict[str, str]:
        return refusing(headers_problem(headers), headers)

    @field_validator("api_base")
    @classmethod
    def _is_an_address(cls, address: str | None) -> str | None:
        return refusing(None if address is None else address_problem(address), address)

    @property
    def revision(self) -> str:
        """The stated revision, with a digest of what else shapes the replies, where there is anything."""
        shaping = {"params": self.params, "headers": self.headers, "api_version": self.api_version}
        given = {name: value for name, value in shaping.items() if value}
        return f"{self.stated_revision}+{json_digest(given)[:8]}" if given else self.stated_revision

    @property
    def is_house(self) -> bool:
        return self.model.startswith("house/")

    @property
    def is_recorded(self) -> bool:
        return self.model.startswith("recorded/")

    @property
    def is_local(self) -> bool:
        """Whether its model runs in a process of this home (models/workers/local.py)."""
        return self.model.startswith(LOCAL)

    def output_tokens(self, wanted: int | None) -> int:
        """The `max_tokens` to send: the caller's, at most the worker's limit."""
        limit = self.limits.max_output_tokens
        return limit if wanted is None else min(wanted, limit)

    def worst_usd(self, prompt_bytes: int, max_tokens: int | None = None) -> float:
        """The most a call can cost: no tokenizer makes more tokens than the prompt has bytes."""
        return 0.0 if self.price is None else self.price.usd(prompt_bytes, self.output_tokens(max_tokens))

    @property
    def key_names(self) -> tuple[str, ...]:
        """The variables that hold its keys."""
        return (self.key_env,) if isinstance(self.key_env, str) else self.key_env or ()

    def key(self, variable: str | None = None) -> str | None:
        """The key in the variable (default: its first), or `None` if it has none. Raises MissingKey, naming the
        variable but never its value, if that is empty or not valid in a header."""
        variable = variable or next(iter(self.key_names), None)
        if variable is None:
            return None
        key = os.environ.get(variable, "").strip()
        if not key:
            raise MissingKey(f"worker {self.name!r}: the environment variable {variable} is empty")
        if not key.isascii() or not key.isprintable() or " " in key:
            message = f"worker {self.name!r}: the environment variable {variable} holds no valid key: "
            raise MissingKey(message + "a key is printable ASCII without spaces")
        return key

    def secrets(self) -> list[str]:
        """The values of its variables, the longest first: its keys, and what its headers hold."""
        names = [*self.key_names, *(name for text in self.headers.values() for name in VARIABLE.findall(text))]
        return sorted(filter(None, {os.environ.get(name, "").strip() for name in names}), key=len, reverse=True)

    def sent_headers(self) -> dict[str, str]:
        """The headers with the values of their variables. Raises MissingKey for one that is empty."""

        def value(found: re.Match[str]) -> str:
            if not (held := os.environ.get(found[1], "").strip()):
                raise MissingKey(f"worker {self.name!r}: the environment variable {found[1]} of a header is empty")
            if not is_one_line(held):
                raise MissingKey(
                    f"worker {self.name!r}: the environment variable {found[1]} of a header is not one line"
                )
            return held

        return {name: VARIABLE.sub(value, text) for name, text in self.headers.items()}

    @property
    def is_askable(self) -> bool:
        """Whether a live call can be made: it is not a recorded one, and its variables are set."""
        try:
            self.check_keys()
        except MissingKey:
            return False
        return not self.is_recorded

    def check_keys(self) -> None:
        """Raises MissingKey for the first of its variables that is empty."""
        for variable in self.key_names:
            self.key(variable)
        self.sent_headers()
