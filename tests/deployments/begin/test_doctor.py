"""`fugu doctor` names what is missing, with the way to get it, and makes nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

POOL = """
workers:
  - {name: sharp, model: openai/sharp, key_env: SHARP_KEY, price: {}}
  - {name: quick, model: openai/quick, key_env: QUICK_KEY, price: {}}
"""


@pytest.fixture(autouse=True)
def ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free ones, whatever else runs on this machine."""
    monkeypatch.setenv("FUGU_PORT", "0")
    monkeypatch.setenv("FUGU_PREFECT_PORT", "0")


def test_where_all_is_there_it_says_so_and_leaves_no_trace(run, cli_home: Path) -> None:
    status, out, err = run("doctor")
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "All that is needed is there:"
    assert "MISSING" not in out and "house, 6 workers" in out
    assert not cli_home.exists()


def test_each_missing_key_is_a_line_and_comes_first(
    run, cli_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text(POOL)
    monkeypatch.delenv("SHARP_KEY", raising=False)
    monkeypatch.setenv("QUICK_KEY", "k")
    status, out, _ = run("doctor", "--pool", str(tmp_path / "mine.yaml"))
    lines = out.splitlines()
    assert status == 1 and lines[0] == "1 thing is missing:"
    assert "MISSING" in lines[1] and "SHARP_KEY" in lines[1]
    assert "QUICK_KEY" not in out
    assert any("questions" in line and "none" in line and "note" in line for line in lines)


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("FUGU_POOL", "/nowhere/pool.yaml", "pool"),
        ("FUGU_QUESTIONS", "/nowhere/questions.jsonl", "questions"),
        ("FUGU_LEDGER_URL", "postgresql://nobody@127.0.0.1:1/none", "ledger"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_the_rest_is_looked_at(
    run, cli_home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, name: str
) -> None:
    monkeypatch.setenv(variable, value)
    status, out, err = run("doctor")
    missing = [line for line in out.splitlines() if "MISSING" in line]
    assert (status, err, len(missing)) == (1, "", 1)
    assert name in missing[0] and "GPU" in out


def test_a_taken_port_names_the_option_that_takes_another(run, cli_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("FUGU_PREFECT_PORT", str(taken.getsockname()[1]))
        status, out, _ = run("doctor")
    assert status == 1 and "--prefect-port" in out.splitlines()[1]


def test_an_extra_that_a_setting_asks_for_is_missing_with_its_command(
    run, cli_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import deployments.begin.doctor as doctor

    monkeypatch.setattr(doctor, "_is_there", lambda module: module != "prefect_dask")
    monkeypatch.setenv("FUGU_TASK_RUNNER", "dask")
    status, out, _ = run("doctor")
    assert status == 1 and "pip install 'fugu-flows[dask]'" in out.splitlines()[1]
    monkeypatch.delenv("FUGU_TASK_RUNNER")
    status, out, _ = run("doctor")
    assert status == 0 and "nothing asks for them: dask" in out


def test_a_file_that_is_no_ledger_and_a_home_that_is_a_file_are_each_one_line(
    run, cli_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli_home.mkdir()
    (cli_home / "ledger.db").write_text("this is no database " * 100)
    status, out, _ = run("doctor")
    assert status == 1 and "ledger" in out.splitlines()[1] and str(cli_home) in out.splitlines()[1]
    monkeypatch.setenv("FUGU_HOME", str(cli_home / "ledger.db"))
    status, out, _ = run("doctor")
    assert status == 1 and "FUGU_HOME" in out.splitlines()[1]
