"""Files of a running `fugu up`: the lock (one per home), the note with its URLs, the Prefect server's secret; and the
line for a ledger that cannot be used."""

from __future__ import annotations

import contextlib
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
from sqlalchemy import inspect
from sqlalchemy.engine import URL

from models.errors import BadFile, LedgerAway, NotFound, PermanentError
from models.files import staged, try_lock
from tasks.setup.home import private_home

LINGER_S = 20.0
"""Wait for the guards of a killed `fugu up`: they hold the lock until all of its processes have ended."""


@dataclass(frozen=True)
class Note:
    """The URLs of a running `fugu up`. `endpoint` is empty until the endpoint is ready."""

    prefect: str
    endpoint: str = ""


@contextlib.contextmanager
def locked(home: Path) -> Iterator[IO[str]]:
    """Hold the home's lock. Raises PermanentError if another `fugu up` holds it."""
    private_home(home)
    with (home / "up.lock").open("a+") as lock:
        deadline = time.monotonic() + LINGER_S
        while not try_lock(lock):
            lock.seek(0)
            owner = lock.read().strip()
            if _lives(owner) or time.monotonic() > deadline:
                raise PermanentError(f"`fugu up` is already running on {home} (process {owner or 'unknown'})")
            time.sleep(0.1)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield lock
        finally:
            _note(home).unlink(missing_ok=True)


def _lives(owner: str) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return owner.isdigit() and psutil.Process(int(owner)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _note(home: Path) -> Path:
    return home / "up.json"


def leave_note(home: Path, note: Note) -> None:
    """Write the URLs for other commands."""
    with staged(_note(home)) as file:
        json.dump(asdict(note), file)


def find_note(home: Path) -> Note:
    """The note of the running `fugu up`. Raises NotFound if none runs."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        note = Note(**json.loads(_note(home).read_text()))
        with (home / "up.lock").open("a+") as lock:
            if not try_lock(lock):
                return note
    raise NotFound(f"`fugu up` is not running on {home}: start it first")


def has_keys(url: str | URL) -> bool:
    """Whether the ledger at `url` has, or had, an API key. Nothing is created."""
    from deployments.migrations import is_made
    from models.ledger.access.keys import version
    from models.ledger.store import Ledger
    from models.ledger.tables.access import api_keys

    if not is_made(url):
        return False
    ledger = Ledger(url)
    try:
        with ledger.reading() as connection:
            known = inspect(connection).has_table(api_keys.name)  # an older home is upgraded later
        return known and version(ledger)[0] > 0
    finally:
        ledger.close()


def secret_file(home: Path) -> Path:
    """The file with the home's secret."""
    return home / "secret"


def secret(home: Path) -> str:
    """The home's secret: random, made once, readable by the owner only. Prefect's server requires it, and the endpoint
    takes it for an API key of the owner.

    Raises BadFile if the file holds no such secret.
    """
    file = secret_file(home)
    if not file.exists():
        _make_secret(file)
    if file.stat().st_mode & 0o077:
        file.chmod(0o600)
    text = file.read_text(encoding="ascii", errors="replace").strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]{32,}", text):
        raise BadFile(file, "holds no valid secret; remove the file, and `fugu up` makes a new one")
    return text


def _make_secret(file: Path) -> None:
    """Write the secret to a private file, then link it under its name; if two processes race, the first one wins."""
    private_home(file.parent)
    descriptor, partial = tempfile.mkstemp(dir=file.parent, prefix=".secret-")
    with os.fdopen(descriptor, "w") as opened:
        opened.write(secrets.token_urlsafe(32) + "\n")
    with contextlib.suppress(FileExistsError):
        os.link(partial, file)
    os.unlink(partial)


def ledger_error(error: BaseException | None) -> str | None:
    """The line for an error that an unusable database file or server causes; `None` for any other error."""
    if isinstance(error, LedgerAway):
        return ledger_error(error.__cause__) or str(error)
    from sqlalchemy.exc import DatabaseError, OperationalError

    from tasks.setup.settings import settings

    if not (isinstance(error, OperationalError) or type(error) is DatabaseError):
        return None
    here = settings()
    where = "the ledger at FUGU_LEDGER_URL" if here.ledger_url else f"the ledger in {here.home}"
    return f"{where} cannot be used: {error.orig}"
