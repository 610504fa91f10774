"""The lock and the note of a home."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.home import Note, find_note, leave_note, locked
from models.errors import NotFound, PermanentError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_the_lock_is_free_again_after_its_holder(home: Path) -> None:
    with locked(home):
        leave_note(home, Note("http://prefect", "http://endpoint"))
        assert find_note(home).endpoint == "http://endpoint"
    with pytest.raises(NotFound), locked(home):
        find_note(home.parent / "another")
    with pytest.raises(NotFound):
        find_note(home)


def test_a_lock_that_nobody_living_holds_is_waited_for_only_so_long(home: Path, monkeypatch) -> None:
    monkeypatch.setattr("deployments.home.LINGER_S", 0.2)
    with locked(home) as lock:
        lock.seek(0)
        lock.truncate()
        with pytest.raises(PermanentError, match="unknown"), locked(home):
            pass
