"""The lock and the note of a home."""

from __future__ import annotations

import os
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deployments import server
from deployments.home import Note, find_note, leave_note, locked, secret, secret_file
from models.errors import BadFile, NotFound, PermanentError
from tasks.setup.settings import settings


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


def test_a_secret_is_made_once_for_all_and_its_owner_alone_may_read_it(home: Path, monkeypatch) -> None:
    modes = []
    link = os.link

    def watched(source: str, target: Path) -> None:
        modes.append(os.stat(source).st_mode & 0o777)
        link(source, target)

    monkeypatch.setattr(os, "link", watched)
    with ThreadPoolExecutor(8) as many:
        found = set(many.map(lambda _: secret(home), range(40)))
    assert len(found) == 1 and len(found.pop()) >= 32
    assert set(modes) == {0o600} and secret_file(home).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.iterdir()] == ["secret"]
    assert secret(home.parent / "another") != secret(home)


def test_a_secret_that_others_could_read_is_closed_and_what_is_none_is_refused(home: Path) -> None:
    known = secret(home)
    secret_file(home).chmod(0o644)
    assert secret(home) == known and secret_file(home).stat().st_mode & 0o777 == 0o600
    for text in ("", "short", "admin:password", known + " " + known):
        secret_file(home).write_text(text)
        with pytest.raises(BadFile, match="secret: holds no valid secret"):
            secret(home)


def test_prefects_clients_read_one_certificate_and_others_read_what_they_did(home: Path, monkeypatch) -> None:
    monkeypatch.setenv("FUGU_HOME", str(home))
    monkeypatch.delenv("SSL_CERT_FILE")
    environment = server.environment(settings(), "http://127.0.0.1:4200")
    file = Path(environment["PREFECT_API_SSL_CERT_FILE"])
    assert file.is_relative_to(home) and "SSL_CERT_FILE" not in environment
    assert len(ssl.create_default_context(cafile=str(file)).get_ca_certs()) == 1
    file.write_text("")  # a context cannot be made of it
    server.environment(settings(), "http://127.0.0.1:4200")
    assert len(ssl.create_default_context(cafile=str(file)).get_ca_certs()) == 1
