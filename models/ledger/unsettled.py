"""Files of replies that could not be written to the database yet; kept in the home until they can be.

Each dispatcher has one file with one settlement per line, synced to disk before the reply is passed on, and readable by
the user only. It is emptied when the ledger has all of its replies. Files of dead processes are settled by the next
process that dispatches with this ledger; a call that another process has taken over meanwhile is not changed
(`calls.settle` rejects the late settlement).

On a full disk neither the database nor this file can be written: the replies are then in memory only, and lost if the
process ends before there is space.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from models.errors import LedgerAway
from models.ledger.calls import Settlement, settle
from models.ledger.outage import apart
from models.ledger.store import Ledger
from models.ledger.text import storable_json

MOST_BYTES = 256 * 2**20
"""The largest size of one process's file; further replies stay in memory."""

log = logging.getLogger(__name__)


class Unsettled:
    """One process's file, created with its first line. Not thread-safe."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / f"{uuid.uuid4().hex}.jsonl"
        self._file: int | None = None
        self._bytes = 0
        self._failing = False

    def keep(self, settlement: Settlement) -> bool:
        """Append the settlement; `True`: it is synced to disk. `False`: no space, or no folder."""
        line = json.dumps(asdict(settlement) | {"reply": storable_json(settlement.reply)}).encode() + b"\n"
        if self._path is None or self._bytes + len(line) > MOST_BYTES:
            return False
        try:
            if self._file is None:
                self._file = _opened(self._path)
            os.truncate(self._file, self._bytes)  # removes a line that a full disk cut off
            if os.pwrite(self._file, line, self._bytes) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except OSError as error:
            if not self._failing:
                log.error("replies that wait for the ledger are in memory only: %s", error)
            self._failing = True
            return False
        self._bytes += len(line)
        self._failing = False
        return True

    def clear(self) -> None:
        """Empty the file: the ledger has all of its replies."""
        if self._bytes and self._file is not None:
            os.truncate(self._file, 0)
            self._bytes = 0

    def close(self) -> None:
        """Close the file, and delete it if it is empty."""
        if self._file is None:
            return
        if not self._bytes and self._path is not None:
            self._path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = None


def recover(ledger: Ledger) -> int:
    """Settle the replies that dead processes left in the ledger's folder; return how many. Raises LedgerAway."""
    if ledger.unsettled is None:
        return 0
    count = 0
    for path in sorted(ledger.unsettled.glob("*.jsonl")):
        with _left(path) as settlements:
            if settlements is None:
                continue
            results = apart(lambda some: settle(ledger, some), settlements)
            if any(isinstance(result, LedgerAway) for result in results):
                raise LedgerAway("replies of an earlier process could not be written to the ledger")
            for settlement, result in zip(settlements, results, strict=True):
                if result is not True:
                    log.warning("a reply of call %s came too late: %s", settlement.call_id, result or "taken over")
            count += results.count(True)
            if all(isinstance(result, bool) for result in results):
                path.unlink(missing_ok=True)
    return count


@contextmanager
def _left(path: Path) -> Iterator[Sequence[Settlement] | None]:
    """The settlements in a dead process's file, locked meanwhile; `None` for a live process's file."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:  # another process has just settled and deleted it
        yield None
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        yield None
        return
    try:
        yield list(_lines(path))
    finally:
        os.close(file)


def _lines(path: Path) -> Iterator[Settlement]:
    """The complete lines. A line cut off by a kill or a full disk is skipped: its reply was not passed on."""
    for line in path.read_bytes().splitlines():
        try:
            yield Settlement(**json.loads(line))
        except (ValueError, TypeError):
            log.warning("%s holds a line that was cut off", path)


def _opened(path: Path) -> int:
    """Open the file, locked while this process lives; again if another process deleted it before it was locked."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            break
        os.close(file)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)  # so that the file's name is on disk too
    os.close(folder)
    return file
