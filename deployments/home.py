"""One `fugu up` a home: the lock that says so, the note in which other commands find it, the secret of its Prefect."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import psutil

from models.errors import BadFile, NotFound, PermanentError
from tasks.setup.home import private_home

LINGER_S = 20.0
"""How long to wait for what a killed `fugu up` left to its guards, which hold the lock until all has ended."""


@dataclass(frozen=True)
class Note:
    """URLs. `endpoint` is empty until it is ready."""

    prefect: str
    endpoint: str = ""


@contextlib.contextmanager
def locked(home: Path) -> Iterator[IO[str]]:
    """Hold the home. Raises PermanentError when another `fugu up` does."""
    private_home(home)
    with (home / "up.lock").open("a+") as lock:
        deadline = time.monotonic() + LINGER_S
        while not _try(lock):
            lock.seek(0)
            owner = lock.read().strip()
            if _lives(owner) or time.monotonic() > deadline:
                raise PermanentError(f"`fugu up` runs already on {home} (process {owner or 'unknown'})")
            time.sleep(0.1)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield lock
        finally:
            _note(home).unlink(missing_ok=True)


def _lives(owner: str) -> bool:
    """Whether this process runs; one that was killed and that nobody has collected yet does not."""
    try:
        return owner.isdigit() and psutil.Process(int(owner)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _try(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _note(home: Path) -> Path:
    return home / "up.json"


def leave_note(home: Path, note: Note) -> None:
    """Say where things are."""
    partial = home / "up.json.partial"
    partial.write_text(json.dumps(asdict(note)))
    partial.replace(_note(home))


def find_note(home: Path) -> Note:
    """What the running `fugu up` left. Raises NotFound where none runs."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        note = Note(**json.loads(_note(home).read_text()))
        with (home / "up.lock").open("a+") as lock:
            if not _try(lock):
                return note
    raise NotFound(f"nothing runs on {home}: start it with `fugu up`")


def secret_file(home: Path) -> Path:
    """Where the secret of the home's Prefect server is kept."""
    return home / "secret"


def secret(home: Path) -> str:
    """What the home's Prefect server asks for: random, made once, readable by the owner alone.

    Raises BadFile where the file holds none.
    """
    file = secret_file(home)
    if not file.exists():
        _make_secret(file)
    if file.stat().st_mode & 0o077:
        file.chmod(0o600)
    text = file.read_text(encoding="ascii", errors="replace").strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]{32,}", text):
        raise BadFile(file, "this is no secret; remove the file, and `fugu up` makes a new one")
    return text


def _make_secret(file: Path) -> None:
    """Whole and private before it has its name; of two processes the first one's stays."""
    private_home(file.parent)
    descriptor, partial = tempfile.mkstemp(dir=file.parent, prefix=".secret-")
    with os.fdopen(descriptor, "w") as opened:
        opened.write(secrets.token_urlsafe(32) + "\n")
    with contextlib.suppress(FileExistsError):
        os.link(partial, file)
    os.unlink(partial)
