"""The home's folder, for its owner alone: made so, and narrowed where it was made with wider modes before."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from models.errors import BadInput

MARKS = ("ledger.db", "up.lock", "logs", "prefect", "reports", "backbones")
"""One of these shows that a folder is a home, and no folder of somebody else's that was named by mistake."""

FOLDERS = ("", "logs", "reports", "prefect", "unsettled")
"""Whose files are narrowed; what lies deeper is behind the home's own mode."""

SHOWS_TEXTS = "for-trying"
"""The file that marks a home which was made to try the house pool: its Prefect shows questions and answers."""

log = logging.getLogger(__name__)


def private_home(home: Path) -> Path:
    """The home, made where it is missing, with mode 0700 and files of mode 0600.

    From here on whatever this process and its children write is its owner's alone. A folder of somebody else's, a
    volume for example, stays as it is: the log says so, and the files in it are private all the same. Raises BadInput
    for a folder that others share.
    """
    os.umask(0o077)
    home.mkdir(parents=True, exist_ok=True)
    found = home.stat()
    if found.st_mode & stat.S_ISVTX or home.parent == home:
        raise BadInput(f"the home {home} is a folder that others share: name one of its own", "FUGU_HOME")
    if _is_home(home):
        if not _narrow(home, found):
            log.warning("the home %s is open to others, and only its owner can change that", home)
        for folder in FOLDERS:
            _narrow_files(home / folder)
    return home


def mark_for_trying(home: Path) -> None:
    """Let a home that is new show texts in Prefect while it has the house pool; one that is there stays as it is."""
    if not home.exists() or not any(home.iterdir()):
        (private_home(home) / SHOWS_TEXTS).touch()


def _is_home(home: Path) -> bool:
    names = {entry.name for entry in os.scandir(home)}
    return not names or any(mark in names for mark in (*MARKS, SHOWS_TEXTS))


def _narrow_files(folder: Path) -> None:
    """The files of one folder; a link is not followed."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_file(follow_symlinks=False):
            _narrow(Path(entry.path), entry.stat(follow_symlinks=False))


def _narrow(path: Path, found: os.stat_result) -> bool:
    """Take group's and others' rights; whether they have none now."""
    if not found.st_mode & 0o077:
        return True
    try:
        path.chmod(stat.S_IMODE(found.st_mode) & 0o700)
    except OSError:
        return False
    return True
