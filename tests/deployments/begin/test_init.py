"""`fugu init` as a person meets it: the real program at a real terminal, with a real server to choose."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from answering import answering

pytestmark = pytest.mark.programs

PATIENCE_S = 60.0

SERVER, VARIABLE = "OpenAI-compatible server", "Environment variable that holds its key"


class Terminal:
    """`fugu` with these words at a terminal of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        main, terminal = pty.openpty()
        kept = {name: text for name, text in os.environ.items() if not name.lower().endswith(("_api_key", "_proxy"))}
        mine = {"FUGU_HOME": str(folder / "home"), "COLUMNS": "200", "OPENAI_API_KEY": "sk-mine", "DESK_KEY": "sk-desk"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from deployments.cli import main; main()", *words],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C reaches it
            env=kept | mine,
            cwd=folder,
        )
        os.close(terminal)
        self._main, self.said, self._seen = main, "", 0

    def read_until(self, text: str) -> None:
        """Read on until the text is there; what came up to it is not looked at again."""
        while text not in self.said[self._seen :]:
            piece = self._read()
            assert piece, f"it ended before {text!r}: {self.said}"
            self.said += piece
        self._seen = self.said.index(text, self._seen) + len(text)

    def answer(self, question: str, line: str) -> None:
        """Wait for the question, and type a line."""
        self.read_until(question)
        os.write(self._main, f"{line}\n".encode())

    def end(self) -> int:
        """The exit status, once all is said."""
        while piece := self._read():
            self.said += piece
        return self.process.wait(60)

    def _read(self) -> str:
        """What is said next, "" at the end."""
        ready, _, _ = select.select([self._main], [], [], PATIENCE_S)
        assert ready, f"nothing more came: {self.said}"
        try:
            return os.read(self._main, 4096).decode(errors="replace")
        except OSError:  # Linux's word for the end of a terminal
            return ""

    def interrupt(self) -> None:
        os.write(self._main, b"\x03")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._main)


@pytest.fixture
def fugu(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*words: str) -> Terminal:
        started.append(Terminal(tmp_path, *words))
        return started[-1]

    yield start
    for terminal in started:
        terminal.close()


def test_a_person_declines_a_provider_mistypes_a_server_and_gets_a_pool_and_questions(fugu, tmp_path: Path) -> None:
    with answering({"small": lambda text: "1 2 3 4"}) as (url, asked):
        at = fugu("init")
        at.answer("OPENAI_API_KEY is set. Use openai (", "n")
        at.answer(SERVER, "http://127.0.0.1:9/v1")
        at.answer(VARIABLE, "")
        at.read_until("http://127.0.0.1:9/v1 does not list its models (")
        at.answer(SERVER, url)
        at.answer(VARIABLE, "sk-desk")
        at.read_until("a key never stands in a file")
        at.answer(SERVER, url)
        at.answer(VARIABLE, "DESK_KEY")
        at.answer("Copy them to questions.jsonl?", "")
        assert at.end() == 0, at.said
    [worker] = yaml.safe_load((tmp_path / "my-pool.yaml").read_text())["workers"]
    assert (worker["model"], worker["api_base"], worker["key_env"]) == ("openai/small", url, "DESK_KEY")
    assert worker["price"] == {"input_per_million": 0.0, "output_per_million": 0.0} and asked["small"] == 1
    assert len((tmp_path / "questions.jsonl").read_text().splitlines()) == 120
    assert "ping      answered in" in at.said and "Traceback" not in at.said
    assert "fugu up --pool my-pool.yaml --questions questions.jsonl" in at.said


def test_a_provider_that_is_chosen_is_written_with_its_own_prices_and_questions_may_be_declined(fugu, tmp_path) -> None:
    at = fugu("init", "--offline")
    at.answer("OPENAI_API_KEY is set. Use openai (", "")
    at.answer(SERVER, "")
    at.answer("Copy them to questions.jsonl?", "n")
    assert at.end() == 0, at.said
    written = yaml.safe_load((tmp_path / "my-pool.yaml").read_text())["workers"]
    assert {worker["key_env"] for worker in written} == {"OPENAI_API_KEY"} and len(written) == 2
    assert all(worker["price"]["output_per_million"] > 0 for worker in written)
    assert not (tmp_path / "questions.jsonl").exists()


def test_ctrl_c_at_a_question_writes_nothing_and_says_so(fugu, tmp_path: Path) -> None:
    at = fugu("init")
    at.read_until("OPENAI_API_KEY is set. Use openai (")
    at.interrupt()
    assert at.end() == 1
    assert "fugu: aborted" in at.said and "Traceback" not in at.said
    assert not (tmp_path / "my-pool.yaml").exists()


def test_a_server_elsewhere_is_asked_its_price(fugu, tmp_path: Path) -> None:
    with answering({"small": lambda text: "1 2 3 4"}) as (url, _):
        at = fugu("init", "--offline")
        at.answer("OPENAI_API_KEY is set. Use openai (", "n")
        at.answer(SERVER, url.replace("127.0.0.1", "127.1"))
        at.answer(VARIABLE, "")
        at.answer("USD per million tokens, in", "-1")
        at.read_until("a number of at least 0")
        at.answer("USD per million tokens, in", "0.5")
        at.answer("USD per million tokens, out", "2")
        at.answer("Copy them to questions.jsonl?", "n")
        assert at.end() == 0, at.said
    [worker] = yaml.safe_load((tmp_path / "my-pool.yaml").read_text())["workers"]
    assert worker["price"] == {"input_per_million": 0.5, "output_per_million": 2.0}
