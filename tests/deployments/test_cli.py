"""What a person gets for a wrong word: one line that names it, exit status 2, and nothing started or written."""

from __future__ import annotations

import io
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from deployments.home import locked
from deployments.migrations import upgrade
from models.ledger import registry
from tasks.setup.settings import open_ledger, settings

PRICED = """
workers:
  - {name: dear, model: openai/dear, price: {input_per_million: 10, output_per_million: 30}, key_env: DEAR_KEY}
"""


@pytest.fixture(autouse=True)
def home(cli_home: Path) -> Path:
    return cli_home


def one_line(err: str) -> str:
    assert err.startswith("fugu: ") and err.count("\n") == 1, err
    return err


def test_help_and_status_start_without_the_heavy_libraries(home: Path) -> None:
    program = (
        "import sys; sys.argv = ['fugu', {words}]\n"
        "from deployments.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "print([m for m in ('prefect', 'torch', 'litellm', 'transformers', 'fastapi') if m in sys.modules])"
    )
    for words in ("'--help'", "'status'"):
        found = subprocess.run(
            [sys.executable, "-c", program.format(words=words)], capture_output=True, text=True, check=True
        )
        assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("flag", ["--port", "--prefect-port"])
def test_a_taken_port_is_one_line_with_the_port_and_the_flag(run, home: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = "--port" if flag == "--prefect-port" else "--prefect-port"
        status, _, err = run("up", "--once", flag, str(port), other, "0")
    assert status == 2
    assert f"port {port} " in one_line(err) and f" {flag}," in err
    assert not (home / "logs").exists()


def test_a_second_up_on_the_same_home_is_told_of_the_first(run, home: Path) -> None:
    with locked(home):
        status, _, err = run("up", "--once", "--port", "0", "--prefect-port", "0")
    assert status == 2
    assert f"`fugu up` is already running on {home} (process {os.getpid()})" in one_line(err)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["up", "--once", "--pool", "nowhere"], "no pool 'nowhere'"),
        (["up", "--once", "--preset", "nothing"], "no preset 'nothing'"),
        (["up", "--once", "--pool", "broken.yaml"], "broken.yaml:2: "),
        (["up", "--once", "--questions", "twice.jsonl"], "twice.jsonl:2: question id 'a' is already on line 1"),
        (["up", "--once", "--questions", "torn.jsonl"], "torn.jsonl:1: not JSON"),
        (["measure", "--estimate", "--questions", "torn.jsonl"], "torn.jsonl:1: not JSON"),
        (["pool", "check", "nowhere"], "no pool 'nowhere'"),
        (["pool", "check", "ghost.yaml"], "the house has no worker 'nobody'"),
        (["up", "--once", "--pool", "ghost.yaml"], "the house has no worker 'nobody'"),
        (["ask", "What is 1 + 1?"], "`fugu up` is not running on"),
        (["import-scores", "absent.jsonl"], "absent.jsonl: cannot be read"),
        (["import-scores", "torn.jsonl"], "torn.jsonl:1: not JSON"),
    ],
)
def test_bad_input_is_one_line(
    run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    question = '{"id": "a", "task": "t", "question": "1 + 1?", "grader": "number", "reference": 2}\n'
    (tmp_path / "twice.jsonl").write_text(question * 2)
    (tmp_path / "torn.jsonl").write_text('{"id": "a", \n')
    (tmp_path / "broken.yaml").write_text("workers:\n  - {name: a, model: house/a, colour: red}\n")
    (tmp_path / "ghost.yaml").write_text("workers:\n  - {name: a, model: house/nobody}\n")
    monkeypatch.chdir(tmp_path)
    if words[0] == "up":
        words = [*words, "--port", "0", "--prefect-port", "0"]
    status, _, err = run(*words)
    assert status == 2
    assert expected in one_line(err)
    assert not (home / "logs").exists()


@pytest.mark.parametrize(("name", "value"), [("FUGU_HOSTS", "http://me"), ("FUGU_ORIGINS", "*")])
def test_a_host_or_an_origin_that_is_none_is_one_line(run, home: Path, monkeypatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    status, _, err = run("up", "--port", "0", "--prefect-port", "0")
    assert status == 2 and one_line(err).startswith(f"fugu: {name}: '{value}' is no ") and not (home / "logs").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ask", "--model", "nope", "hi"], ["'--model'", "'nope'", "fugu-ultra", "`fugu ask --help`"]),
        (["ask"], ["Missing argument"]),
        (["fetch", "nope"], ["'nope'", "trinity", "`fugu fetch --help`"]),
        (["rollback", "nope"], ["'nope'", "fugu"]),
        (["up", "--port", "abc"], ["'--port'", "integer"]),
        (["up", "--port", "99999"], ["'--port'", "65535"]),
        (["up", "--prefect-port", "-1"], ["'--prefect-port'", "0"]),
        (["up", "--nope"], ["--nope"]),
        (["nope"], ["'nope'", "`fugu --help`"]),
        (["pool", "nope"], ["'nope'", "`fugu pool --help`"]),
    ],
)
def test_a_wrong_word_is_one_line(run, home: Path, words: list[str], expected: list[str]) -> None:
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert all(part in one_line(err) for part in expected), err
    assert "FUGU_PORT" not in err and not home.exists()


@pytest.mark.parametrize("words", [[], ["pool"]])
def test_no_word_at_all_shows_the_help(run, words: list[str]) -> None:
    status, out, err = run(*words)
    assert status == 2 and "Usage: fugu" in out + err and not err.endswith("fugu: \n")


def test_a_database_that_does_not_answer_is_one_line(run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:  # bound, but nobody listens
        held.bind(("127.0.0.1", 0))
        url = f"postgresql+psycopg://me:secret@127.0.0.1:{held.getsockname()[1]}/ledger"
        monkeypatch.setenv("FUGU_LEDGER_URL", url)
        status, _, err = run("status")
    assert status == 2 and "FUGU_LEDGER_URL cannot be used" in one_line(err) and "secret" not in err


def test_a_home_that_cannot_be_one_is_one_line(run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for home in ("file", "file/below"):
        for words in (["status"], ["up", "--once", "--port", "0", "--prefect-port", "0"]):
            status, _, err = run(*words, "--home", str(tmp_path / home))
            assert status == 2 and str(tmp_path / home) in one_line(err)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ledger.db").write_text("no database " * 100)
    status, _, err = run("status", "--home", str(tmp_path / "home"))
    assert status == 2 and f"the ledger in {tmp_path / 'home'} cannot be used" in one_line(err)


@pytest.mark.parametrize("host", ["0.0.0.0", "8.8.8.8"])
def test_an_address_of_others_is_refused_before_anything_starts(run, home: Path, monkeypatch, host: str) -> None:
    monkeypatch.setenv("FUGU_HOST", host)
    status, _, err = run("up", "--once", "--port", "0", "--prefect-port", "0")
    assert status == 2 and f"FUGU_HOST={host}" in one_line(err)
    assert not (home / "logs").exists()


def test_a_setting_that_does_not_fit_names_its_variable(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUGU_PORT", "many")
    status, _, err = run("status")
    assert status == 2
    assert "FUGU_PORT" in one_line(err)


def test_a_priced_pool_is_refused_without_a_terminal_and_nothing_starts(
    run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "priced.yaml").write_text(PRICED)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    priced = ["--pool", str(tmp_path / "priced.yaml"), "--questions", "house"]
    words = ["up", "--once", *priced, "--port", "0", "--prefect-port", "0"]
    status, _, err = run(*words)
    assert status == 2
    assert "costs at most $" in one_line(err) and "--yes" in err and "--max-usd" in err
    assert not (home / "logs").exists()


def test_the_estimate_is_the_worst_case_of_what_is_missing(run, tmp_path: Path) -> None:
    (tmp_path / "priced.yaml").write_text(PRICED)
    question = {"id": "a", "task": "t", "question": "1 + 1?", "grader": "number", "reference": 2}
    (tmp_path / "one.jsonl").write_text(str(question).replace("'", '"'))
    words = ["measure", "--estimate", "--pool", str(tmp_path / "priced.yaml")]
    status, out, _ = run(*words, "--questions", str(tmp_path / "one.jsonl"))
    assert status == 0
    # 4096 tokens of output at $30 a million, and a short prompt.
    assert out.strip() in (
        "1 attempts are missing; they cost at most $0.12",
        "1 attempts are missing; they cost at most $0.13",
    )


def test_a_key_that_is_not_there_is_named_by_the_pool_check(run, tmp_path: Path) -> None:
    (tmp_path / "priced.yaml").write_text(PRICED)
    with mock.patch.dict(os.environ):
        os.environ.pop("DEAR_KEY", None)
        status, out, _ = run("pool", "check", str(tmp_path / "priced.yaml"))
    assert status == 1
    assert "key       MISSING" in out and "DEAR_KEY" in out and "$10 in, $30 out per million tokens" in out
    assert "ping" not in out


def test_rollback_brings_back_what_served_before_and_says_so_in_one_line(run, home: Path) -> None:
    upgrade(settings().database)
    ledger = open_ledger()
    for worker in ("calc", "sage"):
        registry.promote(ledger, "fugu", {"kind": "worker", "worker": worker}, "why")
    status, out, err = run("rollback", "fugu")
    assert (status, err) == (0, "")
    assert re.fullmatch(r"fugu is served by calc since \S+ \S+ UTC: rolled back to version 1\n", out)
    now = registry.champion(ledger, "fugu")
    assert now is not None and now.target["worker"] == "calc"


@pytest.mark.parametrize("model", ["fugu", "trinity"])
def test_rollback_with_nothing_earlier_is_one_line_and_changes_nothing(run, home: Path, model: str) -> None:
    upgrade(settings().database)
    ledger = open_ledger()
    registry.promote(ledger, "fugu", {"kind": "worker", "worker": "calc"}, "why")
    status, out, err = run("rollback", model)
    assert (status, out) == (2, "")
    assert f"model '{model}' has no earlier champion" in one_line(err)
    assert [row.version for row in registry.history(ledger, "fugu")] == [1]


def test_paths_in_settings_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(os.environ, {"FUGU_HOME": "here", "FUGU_POOL": "mine.yaml", "FUGU_QUESTIONS": "q.jsonl"}):
        found = settings()
    assert found.home == tmp_path / "here"
    assert str(found.database) == f"sqlite:///{tmp_path}/here/ledger.db"
    assert found.environment()["FUGU_POOL"] == str(tmp_path / "mine.yaml")
    assert found.questions == str(tmp_path / "q.jsonl")


def test_an_agreed_start_without_its_key_is_one_line_and_nothing_starts(run, home: Path, tmp_path: Path) -> None:
    (tmp_path / "priced.yaml").write_text(PRICED)
    words = ["up", "--once", "--yes", "--pool", str(tmp_path / "priced.yaml"), "--port", "0", "--prefect-port", "0"]
    with mock.patch.dict(os.environ):
        os.environ.pop("DEAR_KEY", None)
        status, _, err = run(*words)
    assert status == 2
    assert "DEAR_KEY" in one_line(err)
    assert not (home / "logs").exists()
