"""Pools of workers, and the YAML file of a pool."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from models.errors import BadFile, BadInput, MissingKey, NotFound, NoWorkerAllowed
from models.files import Document, read_yaml
from models.workers.worker import Abilities, Limits, Price, Timeouts, Value, Worker, name_problem

__all__ = ["Abilities", "Limits", "Pool", "Price", "Timeouts", "Worker", "name_problem"]


class Pool(Value):
    """Workers in a fixed order: a worker's index is its row in a router's head.

    `conductors` can be asked too, to write plans; they have no rows in a router and answer no steps.
    """

    name: str = Field(min_length=1)
    workers: tuple[Worker, ...] = Field(min_length=1)
    conductors: tuple[Worker, ...] = ()
    _read: Document | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _distinct(self) -> Pool:
        names = [worker.name for worker in (*self.workers, *self.conductors)]
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise ValueError(f"worker {twice[0]!r} appears twice")
        return self

    @classmethod
    def load(cls, path: str | Path) -> Pool:
        """Read a pool file. Raises BadFile, one line with the place and the problem.

        Fields whose names begin with `x-` are left to the file: a place for YAML anchors.
        """
        path = Path(path)
        document = read_yaml(path)
        if isinstance(document.value, dict):
            for name in [name for name in document.value if str(name).startswith("x-")]:
                del document.value[name]
            document.value.setdefault("name", path.stem)
        _check_names(document)
        pool = document.parsed(cls)
        pool._read = document
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
        """Raises MissingKey for the first worker with a variable that is empty, with its place in the pool's file."""
        for place in ("workers", "conductors"):
            for index, worker in enumerate(getattr(self, place)):
                try:
                    if not worker.is_recorded:
                        worker.check_keys()
                except MissingKey as error:
                    if self._read is None:
                        raise
                    raise MissingKey(f"{self._read.path}:{self._read.line((place, index))}: {error}") from None

    @property
    def hosted_tools(self) -> frozenset[str]:
        """Kinds of providers' tools that some worker takes."""
        return frozenset(kind for worker in self.workers for kind in worker.abilities.hosted_tools)

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

    def of(self, names: Sequence[str]) -> Pool:
        """The workers of these names, in this order. Raises NotFound."""
        if tuple(names) == self.names:
            return self
        return self.model_copy(update={"workers": tuple(self.worker(name) for name in names)})

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


def _check_names(document: Document) -> None:
    """Raises BadFile, naming the line, for a name that two workers have."""
    seen: set[str] = set()
    for place in ("workers", "conductors"):
        entries = document.value.get(place) if isinstance(document.value, dict) else None
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            name = entry.get("name") if isinstance(entry, dict) else None
            if isinstance(name, str) and name in seen:
                line = document.line((place, index, "name"))
                raise BadFile(document.path, f"worker {name!r} appears twice", line)
            seen.add(str(name))
