"""Create the home with owner-only permissions, and remove wider permissions from an existing one."""

from __future__ import annotations

import logging
import os
import stat
from contextlib import suppress
from pathlib import Path

from models.errors import BadInput

MARKS = ("ledger.db", "up.lock", "logs", "prefect", "reports", "backbones")
"""A folder with one of these is a home, not another folder that was named by mistake."""

FOLDERS = ("", "logs", "reports", "prefect", "unsettled")
"""Folders whose files lose wider permissions; deeper files are protected by the home's own mode."""

SHOWS_TEXTS = "for-trying"
"""The file that marks a home for trying the house pool: Prefect shows its questions and answers."""

log = logging.getLogger(__name__)


def private_home(home: Path) -> Path:
    """Create the home if it is missing, with mode 0700 and files of mode 0600; returns it.

    Sets the umask, so that later files of this process and its children are private too. A folder with another owner,
    for example a volume, keeps its mode: a warning is logged, and the files in it are still private. Raises BadInput
    for a folder shared with other users (sticky bit), and for one whose name Prefect would read as a template.
    """
    if "{{" in str(home):
        raise BadInput(f"the home {home} has {{{{ in its name, which Prefect takes for a template", "FUGU_HOME")
    os.umask(0o077)
    home.mkdir(parents=True, exist_ok=True)
    found = home.stat()
    if found.st_mode & stat.S_ISVTX or home.parent == home:
        raise BadInput(f"the home {home} is shared with other users: choose a folder of your own", "FUGU_HOME")
    if _is_home(home):
        if not _narrow(home, found):
            log.warning("other users can read the home %s, and only its owner can change that", home)
        for folder in FOLDERS:
            _narrow_files(home / folder)
    return home


def mark_for_trying(home: Path) -> None:
    """Let Prefect show texts in a new home while it uses the house pool; an existing home is not changed."""
    if not home.exists() or not any(home.iterdir()):
        (private_home(home) / SHOWS_TEXTS).touch()


def _is_home(home: Path) -> bool:
    names = {entry.name for entry in os.scandir(home)}
    return not names or any(mark in names for mark in (*MARKS, SHOWS_TEXTS))


def _narrow_files(folder: Path) -> None:
    """Make the files of one folder private; links are not followed."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        with suppress(FileNotFoundError):  # another process has removed it meanwhile
            if entry.is_file(follow_symlinks=False):
                _narrow(Path(entry.path), entry.stat(follow_symlinks=False))


def _narrow(path: Path, found: os.stat_result) -> bool:
    """Remove the permissions of group and others; returns whether they have none now."""
    if not found.st_mode & 0o077:
        return True
    try:
        path.chmod(stat.S_IMODE(found.st_mode) & 0o700)
    except OSError:
        return False
    return True
