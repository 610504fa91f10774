"""A home is its owner's alone, also one that was made with wider modes; nobody else's folder is touched."""

import os
import stat

import pytest

from models.errors import BadInput
from models.ledger.store import Ledger
from tasks.setup.home import mark_for_trying, private_home
from tasks.setup.settings import open_ledger, settings


@pytest.fixture(autouse=True)
def mask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_home_and_its_ledger_are_private(tmp_path, monkeypatch):
    monkeypatch.setenv("FUGU_HOME", str(tmp_path / "a" / "home"))
    ledger = open_ledger()
    ledger.create_schema()
    home = settings().home
    files = list(home.iterdir())
    ledger.close()
    assert mode(home) == 0o700
    assert {mode(file) for file in home.iterdir()} == {0o600} and len(files) == 3  # with -wal and -shm


def test_a_home_that_was_made_before_is_narrowed(tmp_path):
    home = tmp_path / "home"
    for folder in ("logs", "prefect"):
        (home / folder).mkdir(parents=True)
    ledger = Ledger(f"sqlite:///{home}/ledger.db")
    ledger.create_schema()
    files = [
        home / "ledger.db",
        home / "ledger.db-wal",
        home / "logs" / "endpoint.log",
        home / "prefect" / "prefect.db",
    ]
    files.append(home / "secret")
    for file in files:
        file.touch()
        file.chmod(0o644)
    home.chmod(0o755)
    private_home(home)
    ledger.close()
    assert mode(home) == 0o700 and {mode(file) for file in files if file.exists()} == {0o600}


def test_a_link_is_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.touch(0o644)
    outside.chmod(0o644)
    home = tmp_path / "home"
    home.mkdir()
    (home / "up.lock").symlink_to(outside)
    private_home(home)
    assert mode(outside) == 0o644


def test_a_folder_that_is_no_home_keeps_its_mode(tmp_path):
    (tmp_path / "thesis.txt").touch()
    tmp_path.chmod(0o755)
    private_home(tmp_path)
    assert mode(tmp_path) == 0o755


def test_a_folder_that_others_share_is_refused(tmp_path):
    tmp_path.chmod(0o1777)
    with pytest.raises(BadInput, match="shared with other users"):
        private_home(tmp_path)


def test_only_a_new_home_with_the_house_pool_shows_texts(tmp_path, monkeypatch):
    new, old = tmp_path / "new", tmp_path / "old"
    old.mkdir()
    (old / "ledger.db").touch()
    shows = {}
    for home in (new, old):
        mark_for_trying(home)
        monkeypatch.setenv("FUGU_HOME", str(home))
        shows[home] = settings().shows_texts
    assert shows == {new: True, old: False}
    monkeypatch.setenv("FUGU_HOME", str(new))
    monkeypatch.setenv("FUGU_POOL", "example")
    assert not settings().shows_texts
    monkeypatch.setenv("FUGU_SHOW_TEXTS", "true")
    assert settings().shows_texts
