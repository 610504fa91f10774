"""kill -9 of the pool's worker, then of the Prefect server, then again to the end: nothing settled is paid twice.

The real `fugu up`, flows and workers, on a small house. A killed flow is in tests/flows/learned/test_crash.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from models.ledger import registry
from models.ledger.labels import labels
from models.ledger.tables import generations
from tasks.setup.settings import open_ledger

GENERATIONS = 3
SMALL = {
    "questions": {"train": 40, "validation": 20, "test": 30, "unseen": 10},
    "repeats": 1,
    "backbone": {"size": "tiny", "lines": 320},
    "layout": "late",
    "evolution": {"population": 4, "generations": GENERATIONS, "questions": 40, "validation": 20},
}
ATTEMPTS = 100 * 6


@pytest.fixture
def home(tmp_path: Path, data_with, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh home; this process and each `fugu up` from here on are in it."""
    for name in [name for name in os.environ if name.startswith(("FUGU_", "PREFECT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FUGU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FUGU_DATA", str(data_with(SMALL)))
    monkeypatch.setenv("FUGU_LEASE_S", "1")
    monkeypatch.setenv("FUGU_PORT", "0")
    monkeypatch.setenv("FUGU_PREFECT_PORT", "0")
    return tmp_path / "home"


@pytest.mark.whole_house
def test_killed_pool_worker_and_killed_prefect_server_pay_nothing_settled_again(home: Path, paid) -> None:
    with fugu_up() as up:
        wait_until(lambda: len(paid.asked()) > ATTEMPTS // 5, up)
        kill(up, "gpu")  # the worker's own name
        assert ended(up) == f"fugu: worker-gpu ended with status 137: see {home}/logs/worker-gpu.log\n"
    paid.mark()
    assert len(paid.asked()) < ATTEMPTS, "labelling ended before the worker could be killed"

    with fugu_up() as up:
        wait_until(told, up)
        kill(up, "uvicorn")
        assert ended(up) == f"fugu: prefect-server ended with status 137: see {home}/logs/prefect-server.log\n"
    paid.mark()
    before = told()
    assert len(before) < GENERATIONS, "the evolution ended before the server could be killed"

    with fugu_up("--once") as up:
        out, err = up.communicate(timeout=240)
        assert up.returncode == 0, out + err
    assert not paid.twice()
    assert told()[: len(before)] == before and len(told()) == GENERATIONS
    ledger = open_ledger()
    assert len(labels(ledger, pool="house")) == ATTEMPTS
    assert registry.champion(ledger, "fugu") and registry.champion(ledger, "trinity")
    ledger.close()


@contextmanager
def fugu_up(*words: str) -> Iterator[subprocess.Popen[str]]:
    """`fugu up`; where a test fails, its guards end what it started."""
    fugu = Path(sys.executable).with_name("fugu")
    with subprocess.Popen(
        [str(fugu), "up", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def kill(up: subprocess.Popen[str], word: str) -> None:
    """SIGKILL for the command with that word, the pool's worker or the server, and for all below it."""
    guard = next(guard for guard in psutil.Process(up.pid).children() if word in guard.cmdline())
    for process in guard.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def ended(up: subprocess.Popen[str]) -> str:
    """What `fugu up` says on standard error as it ends all that it started, and itself with status 2."""
    out, err = up.communicate(timeout=60)
    assert up.returncode == 2, out + err
    return err


def told() -> list[tuple[str, int, dict]]:
    """The generations in the ledger, in their order."""
    ledger = open_ledger()
    with ledger.reading() as connection:
        rows = connection.execute(select(generations).order_by(generations.c.generation)).all()
    ledger.close()
    return [(row.run, row.generation, row.body) for row in rows]


def wait_until(reached: Callable[[], object], up: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not reached():
        assert up.poll() is None, up.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)  # other processes are waited for, which can only be looked at
