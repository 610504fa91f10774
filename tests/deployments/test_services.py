"""Nothing outlives the supervisor: not what it started, nor what that started, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deployments import services
from deployments.services import ServiceEnded, Services

FAMILY = """
import os, signal, subprocess, sys, time
from pathlib import Path
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
first = STUBBORN if "stubborn" in sys.argv else "pass"
child = f"import signal, time; {first}; print(1, flush=True); time.sleep(600)"
grandchild = subprocess.Popen([sys.executable, "-c", child], start_new_session=True, stdout=subprocess.PIPE)
grandchild.stdout.readline()  # it is as stubborn as it will be
Path(sys.argv[1]).write_text(f"{os.getpid()} {grandchild.pid}")
if "leave" in sys.argv:
    sys.exit(0)
time.sleep(600)
"""
"""Starts a child in a session of its own, as a pool worker does with a flow run, and says who they are."""


@pytest.fixture(autouse=True)
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "family.py").write_text(FAMILY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(services, "GRACE_S", 0.5)


def test_stopping_ends_what_a_service_started_in_its_own_session(tmp_path: Path) -> None:
    with Services(tmp_path) as running:
        pids = _start(running, tmp_path)
    assert not _alive(pids)


def test_what_ignores_sigterm_is_killed_within_the_bound(tmp_path: Path) -> None:
    with Services(tmp_path) as running:
        pids = _start(running, tmp_path, "stubborn")
        began = time.monotonic()
    assert not _alive(pids)
    assert time.monotonic() - began < 5


def test_what_a_service_leaves_behind_when_it_ends_is_ended(tmp_path: Path) -> None:
    with Services(tmp_path) as running:
        pids = _start(running, tmp_path, "leave")
        _wait_until(lambda: not _alive(pids))
        assert not _alive(pids)


def test_a_failed_start_ends_what_had_started(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Services(tmp_path) as running:
        pids = _start(running, tmp_path)
        raise RuntimeError
    assert not _alive(pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_death_of_the_supervisor_ends_all(tmp_path: Path, number: signal.Signals) -> None:
    program = f"""
import os, signal, time
from pathlib import Path
from deployments import services
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests themselves run in a background job
services.GRACE_S = 0.5
with services.Services(Path({str(tmp_path)!r})) as running:
    running.start("family", ["family", {str(tmp_path / "pids")!r}], os.environ)
    time.sleep(600)
"""
    supervisor = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    pids = _read(tmp_path / "pids")
    assert _alive(pids)
    supervisor.send_signal(number)
    supervisor.wait(20)
    _wait_until(lambda: not _alive(pids))


def test_the_death_of_a_guard_takes_its_command_along(tmp_path: Path) -> None:
    with Services(tmp_path) as running:
        pids = _start(running, tmp_path)
        psutil.Process(pids[0]).parent().kill()
        _wait_until(lambda: not _alive(pids[:1]))
        assert not _alive(pids[:1]) and _alive(pids[1:])
        psutil.Process(pids[1]).kill()


def test_a_process_that_fails_is_named_with_its_log(tmp_path: Path) -> None:
    with Services(tmp_path) as running:
        service = running.start("broken", ["no_such_module"], os.environ)
        _wait_until(lambda: service.ended)
        with pytest.raises(ServiceEnded, match=r"broken ended with status 1: see .*broken\.log"):
            running.check()
    assert "no_such_module" in service.log.read_text()


def test_a_step_may_end_by_itself_but_a_service_may_not(tmp_path: Path) -> None:
    with Services(tmp_path) as running:
        step = running.start("step", ["this"], os.environ, stays=False)
        _wait_until(lambda: step.ended)
        running.check()
        service = running.start("service", ["this"], os.environ)
        _wait_until(lambda: service.ended)
        with pytest.raises(ServiceEnded):
            running.check()


def _start(running: Services, folder: Path, *how: str) -> list[int]:
    running.start("family", ["family", str(folder / "pids"), *how], os.environ)
    return _read(folder / "pids")


def _read(path: Path) -> list[int]:
    _wait_until(lambda: path.is_file() and len(path.read_text().split()) == 2)
    return [int(pid) for pid in path.read_text().split()]


def _alive(pids: list[int]) -> bool:
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _wait_until(reached) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # other processes are waited for, which can only be looked at
