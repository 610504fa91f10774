"""Workers and pools of workers, and the YAML file of a pool."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.errors import BadFile, BadInput, MissingKey, NotFound, NoWorkerAllowed
from models.files import read_yaml


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Price(_Value):
    """USD per million tokens."""

    input_per_million: float = Field(default=0.0, ge=0, le=1e8)
    output_per_million: float = Field(default=0.0, ge=0, le=1e8)

    def usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        return (prompt_tokens * self.input_per_million + completion_tokens * self.output_per_million) / 1e6


LOCAL = "local/"
"""What the model's name of a local worker begins with."""


class Limits(_Value):
    """Limits of each call, and of concurrent calls. `max_output_tokens` is always sent: it bounds the price."""

    max_output_tokens: int = Field(default=4096, gt=0, le=10_000_000)
    concurrency: int = Field(default=8, gt=0, le=10_000)
    connect_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    total_timeout_s: float = Field(default=120.0, gt=0, le=86_400)


MAX_NAME = 200


def name_problem(name: str) -> str | None:
    """The reason why a name cannot be used in headers (X-Fugu-Worker, X-Fugu-Workers), or `None` if it can."""
    printable = name.isascii() and name.isprintable()
    if 1 <= len(name) <= MAX_NAME and printable and "," not in name and name == name.strip():
        return None
    return f"a worker's name is 1 to {MAX_NAME} printable ASCII characters without a comma and without outer spaces"


class Worker(_Value):
    """A model that can be asked. `model`: litellm's name for it; `key_env`: the variable that holds its key.

    `limit_field`: the provider's name for the limit on a reply's tokens, where litellm cannot derive it from the
    model's name (an alias, say, or a deployment's name).
    """

    name: str
    model: str = Field(min_length=1)
    revision: str = "1"
    price: Price | None = None
    limits: Limits = Limits()
    tags: tuple[str, ...] = ()
    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")  # a name: the key itself is refused
    api_base: str | None = None
    limit_field: Literal["max_tokens", "max_completion_tokens"] | None = None

    @field_validator("name")
    @classmethod
    def _fits_a_header(cls, name: str) -> str:
        if (problem := name_problem(name)) is not None:
            raise ValueError(f"{problem}, not {name!r}")
        return name

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

    def key(self) -> str | None:
        """The worker's key, or `None` if it has no `key_env`. Raises MissingKey, naming the variable but never its
        value, if that is empty or not valid in a header."""
        if self.key_env is None:
            return None
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            raise MissingKey(f"worker {self.name!r}: the environment variable {self.key_env} is empty")
        if not key.isascii() or not key.isprintable() or " " in key:
            message = f"worker {self.name!r}: the environment variable {self.key_env} holds no valid key: "
            raise MissingKey(message + "a key is printable ASCII without spaces")
        return key


class Pool(_Value):
    """Workers in a fixed order: a worker's index is its row in a router's head.

    `conductors` can be asked too, to write plans; they have no rows in a router and answer no steps.
    """

    name: str = Field(min_length=1)
    workers: tuple[Worker, ...] = Field(min_length=1)
    conductors: tuple[Worker, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Pool:
        names = [worker.name for worker in (*self.workers, *self.conductors)]
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise ValueError(f"worker {twice[0]!r} appears twice")
        return self

    @classmethod
    def load(cls, path: str | Path) -> Pool:
        """Read a pool file. Raises BadFile, one line with the place and the problem."""
        path = Path(path)
        document = read_yaml(path)
        if isinstance(document.value, dict):
            document.value.setdefault("name", path.stem)
        pool = document.parsed(cls)
        for place in ("workers", "conductors"):
            for index, worker in enumerate(getattr(pool, place)):
                free = worker.is_house or worker.is_recorded or worker.is_local
                if worker.price is None and not free:
                    message = f"worker {worker.name!r} has no price (USD per million tokens; 0 if it is free)"
                    raise BadFile(path, message, document.line((place, index)))
        return pool

    @property
    def is_recorded(self) -> bool:
        """Whether some of its workers cannot be asked: such a pool can only be used for training and comparison."""
        return any(worker.is_recorded for worker in self.workers)

    @property
    def is_priced(self) -> bool:
        """Whether asking it can cost money."""
        return any(worker.worst_usd(1) > 0 for worker in self.workers)

    def check_keys(self) -> None:
        """Raises MissingKey for the first worker whose key is missing."""
        for worker in self.workers:
            if not worker.is_recorded:
                worker.key()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(worker.name for worker in self.workers)

    @property
    def indices(self) -> dict[str, int]:
        """Name to index."""
        return {name: index for index, name in enumerate(self.names)}

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of names, models and revisions, in order."""
        rows = [(worker.name, worker.model, worker.revision) for worker in self.workers]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def worker(self, name: str) -> Worker:
        """The worker, or the conductor, of that name. Raises NotFound."""
        for worker in (*self.workers, *self.conductors):
            if worker.name == name:
                return worker
        raise NotFound(f"pool {self.name!r} has no worker {name!r}; it has {', '.join(self.names)}")

    def mask(self, allowed: Sequence[str] | None = None) -> np.ndarray:
        """[W] bool: which workers may be asked (`None`: all). Raises BadInput for an unknown one, NoWorkerAllowed for
        none."""
        if allowed is None:
            return np.ones(len(self.workers), dtype=bool)
        unknown = [name for name in allowed if name not in self.indices]
        if unknown:
            raise BadInput(f"unknown worker {unknown[0]!r}; the pool has {', '.join(self.names)}", field="allowed")
        if not allowed:
            raise NoWorkerAllowed("the mask leaves no worker to ask", field="allowed")
        return np.array([name in allowed for name in self.names])
