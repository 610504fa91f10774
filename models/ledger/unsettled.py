"""Replies in hand that the database did not take: on disk in the home until it does.

One file a dispatcher, one settlement a line, on disk before the reply is handed on; only the user can read it. It is
emptied when the ledger has them all. What a dead process left is settled by the next one that opens the ledger to
dispatch; whoever took such a call over meanwhile keeps it (`calls.settle` fences the late one off).

On a disk that is full neither the database nor this file takes anything: the replies are in memory alone then, and
lost if the process dies before there is room.
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
"""Of one process's file; replies beyond it stay in memory."""

log = logging.getLogger(__name__)


class Unsettled:
    """One process's file, made with its first line. For one thread at a time."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / f"{uuid.uuid4().hex}.jsonl"
        self._file: int | None = None
        self._bytes = 0
        self._told = False

    def keep(self, settlement: Settlement) -> bool:
        """Append it; it is on disk when this returns `True`. `False`: there is no room, or no folder."""
        line = json.dumps(asdict(settlement) | {"reply": storable_json(settlement.reply)}).encode() + b"\n"
        if self._path is None or self._bytes + len(line) > MOST_BYTES:
            return False
        try:
            if self._file is None:
                self._file = _opened(self._path)
            os.truncate(self._file, self._bytes)  # what a full disk cut off
            if os.pwrite(self._file, line, self._bytes) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except OSError as error:
            if not self._told:
                log.error("replies that wait for the ledger are in memory alone: %s", error)
            self._told = True
            return False
        self._bytes += len(line)
        self._told = False
        return True

    def clear(self) -> None:
        """The ledger has them all."""
        if self._bytes and self._file is not None:
            os.truncate(self._file, 0)
            self._bytes = 0

    def close(self) -> None:
        """Let go of the file; one that holds nothing goes with it."""
        if self._file is None:
            return
        if not self._bytes and self._path is not None:
            self._path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = None


def recover(ledger: Ledger) -> int:
    """Settle what dead processes left in the ledger's folder; how many replies it took. Raises LedgerAway."""
    if ledger.unsettled is None:
        return 0
    count = 0
    for path in sorted(ledger.unsettled.glob("*.jsonl")):
        with _left(path) as settlements:
            if settlements is None:
                continue
            results = apart(lambda some: settle(ledger, some), settlements)
            if any(isinstance(result, LedgerAway) for result in results):
                raise LedgerAway("replies of an earlier process wait for the ledger")
            for settlement, result in zip(settlements, results, strict=True):
                if result is not True:
                    log.warning("a reply of call %s came too late: %s", settlement.call_id, result or "taken over")
            count += results.count(True)
            if all(isinstance(result, bool) for result in results):
                path.unlink(missing_ok=True)
    return count


@contextmanager
def _left(path: Path) -> Iterator[Sequence[Settlement] | None]:
    """The settlements of a dead process's file, held meanwhile; `None` for a live one's."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:  # somebody else has just been here
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
    """Those that are whole: a line that a kill or a full disk cut off was not promised to anybody."""
    for line in path.read_bytes().splitlines():
        try:
            yield Settlement(**json.loads(line))
        except (ValueError, TypeError):
            log.warning("%s holds a line that was cut off", path)


def _opened(path: Path) -> int:
    """The file, locked for as long as this process lives. One that was taken for a dead process's is made anew."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            break
        os.close(file)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)  # the file's name, too
    os.close(folder)
    return file
