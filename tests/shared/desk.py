"""A person's folder: a pool of upstreams on loopback, a home, and the programs that are started there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from answering import Asked


class Desk(NamedTuple):
    """A folder with a pool file of real upstreams at `url`, and the home beside it."""

    folder: Path
    url: str
    asked: Asked
    more: dict[str, str] = {}  # noqa: RUF012 - a tuple's field

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("PREFECT_", "FUGU_"))}
        mine = {"FUGU_HOME": str(self.folder / "home"), "COLUMNS": "200", "DESK_KEY": "sk-desk", "OMP_NUM_THREADS": "1"}
        return kept | mine | self.more

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A Python process with these words, which has no terminal."""
        return subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            cwd=self.folder,
        )

    def start_fugu(self, *words: str) -> subprocess.Popen[str]:
        return self.start("-c", "from deployments.cli import main; main()", *words)

    def fugu(self, *words: str) -> tuple[int, str]:
        """Exit status, and all that is printed."""
        process = self.start_fugu(*words)
        out, _ = process.communicate(timeout=120)
        return process.returncode, out


class Up(NamedTuple):
    """A `fugu up` that serves: what it printed, its endpoint and its Prefect server."""

    said: str
    endpoint: str
    prefect: str


def worker(name: str, url: str, usd: float) -> dict[str, object]:
    price = {"input_per_million": usd, "output_per_million": usd}
    return {"name": name, "model": f"openai/{name}", "api_base": url, "key_env": "DESK_KEY", "price": price}


@contextmanager
def serving(desk: Desk, prefect_database: Path, *words: str) -> Iterator[Up]:
    (desk.folder / "home" / "prefect").mkdir(parents=True)
    shutil.copy(prefect_database, desk.folder / "home" / "prefect" / "prefect.db")
    process = desk.start_fugu("up", "--port", "0", "--prefect-port", "0", *words)
    try:
        said = _read_until(process, "Prefect   ")
        note = json.loads((desk.folder / "home" / "up.json").read_text())
        yield Up(said, note["endpoint"], note["prefect"])
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def _read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(text):
            return "".join(lines)
    raise AssertionError("".join(lines))
