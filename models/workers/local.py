"""Local models: workers `local/…`, whose model runs in one process of its own on this machine.

That process (`python -m deployments.local`) holds a lock in the home's folder `local` and leaves a note there with its
address and its key, readable by the owner only. Callers read the note at each call, so a process that was started
later, or again at another port, is found. To everything else it is a worker that speaks OpenAI's protocol.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import Field

from models.errors import UpstreamUnavailable
from models.files import staged, try_lock
from models.workers.pool import Pool
from models.workers.worker import LOCAL, Worker

PROVIDER = "hosted_vllm"
"""litellm's name of a provider that takes OpenAI's fields unchanged."""

FIELDS = frozenset(
    {"temperature", "top_p", "top_k", "max_tokens", "stop", "seed", "presence_penalty", "frequency_penalty"}
)
"""The fields of a request that a local model honours. It reads text only, and calls no tools."""

STARTING_S = 2.0
"""Seconds after which a caller may ask again while a model is being loaded."""

ASKED_S = 1.0
"""Seconds for which a new process tries to get the lock: who only asks whether it is held has it for an instant."""


@dataclass(frozen=True)
class Note:
    """What a model's process leaves. `url`: ends in /v1; `key`: its secret; `template`: the chat template is the
    tokenizer's `own` or, where that has none, the `plain` one.
    """

    model: str
    url: str
    key: str
    pid: int
    template: str


class LocalWorker(Worker):
    """A local worker of an open pool. `notes`: the folder in which its model's process leaves its note."""

    notes: Path = Field(exclude=True, repr=False)

    def reached(self) -> Worker:
        """The worker as an upstream with an address and a key.

        Raises UpstreamUnavailable, naming the command, where no process serves its model or it is still loading.
        """
        note = find(self.notes, self.model)
        if note is not None:
            shape = {**dict(self), "model": f"{PROVIDER}/{self.model}", "api_base": note.url, "token": note.key}
            return _Reached.model_construct(**shape)
        if is_held(self.notes, self.model):
            raise UpstreamUnavailable(f"worker {self.name!r}: {self.model} is being loaded", STARTING_S)
        command = f"`fugu worker serve {self.model}`"
        message = f"worker {self.name!r}: no process serves {self.model}: start one with {command}"
        raise UpstreamUnavailable(f"{message}, or `fugu up` with this pool")


class _Reached(LocalWorker):
    token: str = Field(exclude=True, repr=False)

    def key(self, variable: str | None = None) -> str:
        return self.token


def opened(pool: Pool, notes: Path) -> Pool:
    """The pool with local workers that can be asked. `notes`: the home's folder of notes."""

    def each(worker: Worker) -> Worker:
        return LocalWorker.model_construct(**dict(worker), notes=notes) if worker.is_local else worker

    return pool.model_copy(
        update={
            "workers": tuple(map(each, pool.workers)),
            "conductors": tuple(map(each, pool.conductors)),
        }
    )


def reached(worker: Worker) -> Worker:
    """The worker to which a call is sent. Raises UpstreamUnavailable as `LocalWorker.reached`."""
    return worker.reached() if isinstance(worker, LocalWorker) else worker


def models_of(pool: Pool) -> tuple[str, ...]:
    """The distinct local models of a pool, `local/…`, in its order: one process serves each."""
    return tuple(dict.fromkeys(worker.model for worker in (*pool.workers, *pool.conductors) if worker.is_local))


def reference(model: str) -> str:
    """The folder, file or hub name behind `local/`."""
    return model.removeprefix(LOCAL)


def note_file(notes: Path, model: str) -> Path:
    return notes / f"{hashlib.sha256(model.encode()).hexdigest()[:16]}.json"


def leave(notes: Path, note: Note) -> None:
    """Write the note. The process's umask has to hide it from others."""
    with staged(note_file(notes, note.model)) as file:
        json.dump(asdict(note), file)


def find(notes: Path, model: str) -> Note | None:
    """The note of the process that serves the model; `None` where none does, or it is still loading."""
    try:
        note = Note(**json.loads(note_file(notes, model).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return note if is_held(notes, model) else None


@contextmanager
def held(notes: Path, model: str) -> Iterator[bool]:
    """Hold the model's lock; gives `False` where another process has it. Its note is removed at the end."""
    notes.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = note_file(notes, model)
    with file.with_suffix(".lock").open("a+") as lock:
        deadline = time.monotonic() + ASKED_S
        while not try_lock(lock):
            if time.monotonic() > deadline:
                yield False
                return
            time.sleep(0.01)
        file.unlink(missing_ok=True)  # of a process that was killed
        try:
            yield True
        finally:
            file.unlink(missing_ok=True)


def is_held(notes: Path, model: str) -> bool:
    """Whether a process serves or loads the model."""
    try:
        with note_file(notes, model).with_suffix(".lock").open("r") as lock:
            return not try_lock(lock, shared=True)
    except FileNotFoundError:
        return False
