"""A home that cannot be used: every command that needs it says so in one line, and changes nothing."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

from deployments import migrations
from deployments.endpoint import __main__ as endpoint
from deployments.migrations import upgrade
from models.ledger.store import sqlite_url

SCORES = '{"id": "q1", "task": "t", "question": "x?", "scores": {"a": 1, "b": 0}}\n'

COMMANDS = {
    "status": ["status"],
    "migrate": ["migrate"],
    "measure": ["measure", "--estimate"],
    "prune": ["prune"],
    "rollback": ["rollback", "fugu"],
    "show": ["show", "chatcmpl-1"],
    "resume": ["resume", "chatcmpl-1"],
    "replay": ["replay", "chatcmpl-1"],
    "import-scores": ["import-scores", "scores.jsonl", "--name", "w"],
    "pool": ["pool", "check", "house"],
    "up": ["up", "--once", "--port", "0", "--prefect-port", "0"],
}


def scrambled(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:4096] + bytes((byte * 7 + 13) % 256 for byte in content[4096:]))


def of_a_newer_version(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES = {
    "scrambled": scrambled,
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:5000]),
    "empty": lambda file: file.write_bytes(b""),
    "no database": lambda file: file.write_text("hello\n" * 4000),
    "a folder": a_folder,
    "of a newer version": of_a_newer_version,
}


@pytest.fixture
def damaged(cli_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`damage(kind)` -> a home whose ledger is so."""
    (tmp_path / "scores.jsonl").write_text(SCORES)
    monkeypatch.chdir(tmp_path)

    def damage(kind: str) -> Path:
        file = cli_home / "ledger.db"
        upgrade(sqlite_url(file))
        for journal in cli_home.glob("ledger.db-*"):
            journal.unlink()
        DAMAGES[kind](file)
        return file

    return damage


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_ledger_that_cannot_be_used_is_one_line_from_every_command(run, damaged, monkeypatch, kind, command) -> None:
    if command != "status":  # one waits as long as a person's command, for who may be about to fill an empty file
        monkeypatch.setattr(migrations, "BEGUN_S", 0.0)
    file = damaged(kind)
    before = file.read_bytes() if file.is_file() and kind != "of a newer version" else None
    status, _, err = run(*COMMANDS[command])
    assert status == 2 and err.startswith("fugu: ") and err.count("\n") == 1, err
    assert "ledger" in err
    assert before is None or file.read_bytes()[:4096] == before[:4096]


@pytest.mark.parametrize("kind", [kind for kind in DAMAGES if kind != "of a newer version"])
def test_the_endpoint_alone_says_so_in_one_line_too(damaged, monkeypatch, capsys, kind) -> None:
    monkeypatch.setattr(sys, "argv", ["endpoint", "--port", "0", "--no-observe"])
    monkeypatch.setattr(endpoint, "log_to_stderr", lambda: None)
    monkeypatch.setattr(endpoint, "_open", lambda arguments: pytest.fail("it goes on"))
    monkeypatch.setattr(migrations, "BEGUN_S", 0.0)
    damaged(kind)
    assert endpoint.main() == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and ("ledger" in err or "is empty" in err), err


def test_a_home_whose_name_is_a_template_is_one_line(run, tmp_path: Path) -> None:
    status, _, err = run("up", "--once", "--home", str(tmp_path / "a{{b}}"), "--port", "0", "--prefect-port", "0")
    assert status == 2 and err.count("\n") == 1 and "takes for a template" in err


def test_a_file_in_the_homes_place_is_one_line(run, cli_home: Path) -> None:
    cli_home.write_text("x")
    status, _, err = run("status")
    assert status == 2 and err.count("\n") == 1 and str(cli_home) in err
