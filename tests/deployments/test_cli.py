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

from deployments.cli import main
from deployments.home import locked
from deployments.migrations import upgrade
from models.ledger import registry
from tasks.settings import open_ledger, pool_path, settings

PRICED = """
workers:
  - {name: dear, model: openai/dear, price: {input_per_million: 10, output_per_million: 30}, key_env: DEAR_KEY}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path):
    """A home of its own; options write to the environment, which is put back."""
    with mock.patch.dict(os.environ, {"FUGU_HOME": str(tmp_path / "home"), "COLUMNS": "200"}):
        yield tmp_path / "home"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    with mock.patch.object(sys, "argv", ["fugu", *words]), pytest.raises(SystemExit) as stop:
        main()
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


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
def test_a_taken_port_is_one_line_with_the_port_and_the_flag(capsys, home: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = "--port" if flag == "--prefect-port" else "--prefect-port"
        status, _, err = run(capsys, "up", "--once", flag, str(port), other, "0")
    assert status == 2
    assert f"port {port} " in one_line(err) and f" {flag}," in err
    assert not (home / "logs").exists()


def test_a_second_up_on_the_same_home_is_told_of_the_first(capsys, home: Path) -> None:
    with locked(home):
        status, _, err = run(capsys, "up", "--once", "--port", "0", "--prefect-port", "0")
    assert status == 2
    assert f"`fugu up` runs already on {home} (process {os.getpid()})" in one_line(err)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["up", "--once", "--pool", "nowhere"], "no pool 'nowhere'"),
        (["up", "--once", "--preset", "nothing"], "no preset 'nothing'"),
        (["up", "--once", "--pool", "broken.yaml"], "broken.yaml:2: "),
        (["up", "--once", "--questions", "twice.jsonl"], "twice.jsonl:2: question id 'a' stands already on line 1"),
        (["up", "--once", "--questions", "torn.jsonl"], "torn.jsonl:1: not JSON"),
        (["measure", "--estimate", "--questions", "torn.jsonl"], "torn.jsonl:1: not JSON"),
        (["pool", "check", "nowhere"], "no pool 'nowhere'"),
        (["ask", "What is 1 + 1?"], "nothing runs on"),
        (["import-scores", "absent.jsonl"], "absent.jsonl: cannot be read"),
        (["import-scores", "torn.jsonl"], "torn.jsonl:1: not JSON"),
    ],
)
def test_bad_input_is_one_line(
    capsys, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    question = '{"id": "a", "task": "t", "question": "1 + 1?", "grader": "number", "reference": 2}\n'
    (tmp_path / "twice.jsonl").write_text(question * 2)
    (tmp_path / "torn.jsonl").write_text('{"id": "a", \n')
    (tmp_path / "broken.yaml").write_text("workers:\n  - {name: a, model: house/a, colour: red}\n")
    monkeypatch.chdir(tmp_path)
    if words[0] == "up":
        words = [*words, "--port", "0", "--prefect-port", "0"]
    status, _, err = run(capsys, *words)
    assert status == 2
    assert expected in one_line(err)
    assert not (home / "logs").exists()


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
def test_a_wrong_word_is_one_line(capsys, home: Path, words: list[str], expected: list[str]) -> None:
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert all(part in one_line(err) for part in expected), err
    assert "FUGU_PORT" not in err and not home.exists()


@pytest.mark.parametrize("words", [[], ["pool"]])
def test_no_word_at_all_shows_the_help(capsys, words: list[str]) -> None:
    status, out, err = run(capsys, *words)
    assert status == 2 and "Usage: fugu" in out + err and not err.endswith("fugu: \n")


def test_a_database_that_does_not_answer_is_one_line(capsys, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:  # bound, but nobody listens
        held.bind(("127.0.0.1", 0))
        url = f"postgresql+psycopg://me:secret@127.0.0.1:{held.getsockname()[1]}/ledger"
        monkeypatch.setenv("FUGU_LEDGER_URL", url)
        status, _, err = run(capsys, "status")
    assert status == 2 and "FUGU_LEDGER_URL cannot be used" in one_line(err) and "secret" not in err


def test_a_home_that_cannot_be_one_is_one_line(capsys, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for home in ("file", "file/below"):
        for words in (["status"], ["up", "--once", "--port", "0", "--prefect-port", "0"]):
            status, _, err = run(capsys, *words, "--home", str(tmp_path / home))
            assert status == 2 and str(tmp_path / home) in one_line(err)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ledger.db").write_text("no database " * 100)
    status, _, err = run(capsys, "status", "--home", str(tmp_path / "home"))
    assert status == 2 and f"the ledger in {tmp_path / 'home'} cannot be used" in one_line(err)


@pytest.mark.parametrize("host", ["0.0.0.0", "8.8.8.8"])
def test_an_address_of_others_is_refused_before_anything_starts(capsys, home: Path, monkeypatch, host: str) -> None:
    monkeypatch.setenv("FUGU_HOST", host)
    status, _, err = run(capsys, "up", "--once", "--port", "0", "--prefect-port", "0")
    assert status == 2 and f"FUGU_HOST={host}" in one_line(err)
    assert not (home / "logs").exists()


def test_a_setting_that_does_not_fit_names_its_variable(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUGU_PORT", "many")
    status, _, err = run(capsys, "status")
    assert status == 2
    assert "FUGU_PORT" in one_line(err)


def test_a_priced_pool_is_refused_without_a_terminal_and_nothing_starts(
    capsys, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "priced.yaml").write_text(PRICED)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    words = ["up", "--once", "--pool", str(tmp_path / "priced.yaml"), "--port", "0", "--prefect-port", "0"]
    status, _, err = run(capsys, *words)
    assert status == 2
    assert "costs at most $" in one_line(err) and "--yes" in err and "--max-usd" in err
    assert not (home / "logs").exists()


def test_the_estimate_is_the_worst_case_of_what_is_missing(capsys, tmp_path: Path) -> None:
    (tmp_path / "priced.yaml").write_text(PRICED)
    question = {"id": "a", "task": "t", "question": "1 + 1?", "grader": "number", "reference": 2}
    (tmp_path / "one.jsonl").write_text(str(question).replace("'", '"'))
    words = ["measure", "--estimate", "--pool", str(tmp_path / "priced.yaml")]
    status, out, _ = run(capsys, *words, "--questions", str(tmp_path / "one.jsonl"))
    assert status == 0
    # 4096 tokens of output at $30 a million, and a short prompt.
    assert out.strip() in (
        "1 attempts are missing; they cost at most $0.12",
        "1 attempts are missing; they cost at most $0.13",
    )


def test_a_key_that_is_not_there_is_named_by_the_pool_check(capsys, tmp_path: Path) -> None:
    (tmp_path / "priced.yaml").write_text(PRICED)
    with mock.patch.dict(os.environ):
        os.environ.pop("DEAR_KEY", None)
        status, out, _ = run(capsys, "pool", "check", str(tmp_path / "priced.yaml"))
    assert status == 1
    assert "dear: openai/dear, $10/$30 per million tokens: MissingKey" in out and "DEAR_KEY" in out


def test_recorded_scores_become_labels_of_a_pool_and_again_change_nothing(capsys, home: Path, tmp_path: Path) -> None:
    row = '{"id": "q%d", "task": "t", "metric": "em", "question": "Q%d?", "scores": {"a": 1.0, "b": 0.25}}\n'
    file = tmp_path / "scores.jsonl"
    file.write_text("".join(row % (i, i) for i in range(3)))
    for _ in range(2):
        status, out, _ = run(capsys, "import-scores", str(file))
        assert status == 0
        assert "3 questions with the scores of 2 workers: pool scores" in out
    from models.ledger.labels import labels
    from models.workers.pool import Pool

    ledger = open_ledger()
    frame = labels(ledger, pool="scores")
    ledger.close()
    assert frame.groupby("worker")["score"].mean().to_dict() == {"a": 1.0, "b": 0.25}
    assert frame["n"].eq(1).all()
    assert all(worker.is_recorded for worker in Pool.load(pool_path("scores")).workers)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"id": "q1", "task": "t", "question": "Q?", "scores": {"a": 1.5}}', "scores.a"),
        ('{"id": "q0", "task": "t", "question": "Q?", "scores": {"a": 1}}', "stands already on line 1"),
        ('{"id": "q1", "task": "t", "question": "Q?", "scores": {"b": 1}}', "not the same workers"),
        ('{"id": "q1", "task": "t", "question": "Q?"}', "scores: Field required"),
        ('{"id": "q1", "task": "t", "question": "Q?", "scores": {"a,b": 1}}', "without a comma"),
    ],
)
def test_a_bad_line_of_scores_is_named_and_nothing_is_written(
    capsys, home: Path, tmp_path: Path, line: str, expected: str
) -> None:
    file = tmp_path / "scores.jsonl"
    file.write_text('{"id": "q0", "task": "t", "question": "Q?", "scores": {"a": 1}}\n' + line)
    status, _, err = run(capsys, "import-scores", str(file))
    assert status == 2
    assert "scores.jsonl:2: " in one_line(err) and expected in err
    assert not (home / "pools").exists() and not (home / "questions").exists()


@pytest.mark.parametrize("name", ["house", "../outside", ""])
def test_recorded_scores_take_no_name_that_is_taken_or_no_name(capsys, tmp_path: Path, name: str) -> None:
    file = tmp_path / "scores.jsonl"
    file.write_text('{"id": "q0", "task": "t", "question": "Q?", "scores": {"a": 1}}')
    status, _, err = run(capsys, "import-scores", str(file), "--name", name)
    assert status == 2
    assert repr(name) in one_line(err)


def test_rollback_brings_back_what_served_before_and_says_so_in_one_line(capsys, home: Path) -> None:
    upgrade(settings().database)
    ledger = open_ledger()
    for worker in ("calc", "sage"):
        registry.promote(ledger, "fugu", {"kind": "worker", "worker": worker}, "why")
    status, out, err = run(capsys, "rollback", "fugu")
    assert (status, err) == (0, "")
    assert re.fullmatch(r"fugu is served by calc since \S+ \S+ UTC: rolled back to version 1\n", out)
    now = registry.champion(ledger, "fugu")
    assert now is not None and now.target["worker"] == "calc"


@pytest.mark.parametrize("model", ["fugu", "trinity"])
def test_rollback_with_nothing_earlier_is_one_line_and_changes_nothing(capsys, home: Path, model: str) -> None:
    upgrade(settings().database)
    ledger = open_ledger()
    registry.promote(ledger, "fugu", {"kind": "worker", "worker": "calc"}, "why")
    status, out, err = run(capsys, "rollback", model)
    assert (status, out) == (2, "")
    assert f"model '{model}' has no earlier champion" in one_line(err)
    assert [row.version for row in registry.history(ledger, "fugu")] == [1]


def test_paths_in_settings_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(os.environ, {"FUGU_HOME": "here", "FUGU_POOL": "mine.yaml", "FUGU_QUESTIONS": "q.jsonl"}):
        found = settings()
    assert found.home == tmp_path / "here"
    assert found.database == f"sqlite:///{tmp_path}/here/ledger.db"
    assert found.environment()["FUGU_POOL"] == str(tmp_path / "mine.yaml")
    assert found.questions == str(tmp_path / "q.jsonl")
