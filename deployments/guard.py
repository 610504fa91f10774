"""Run one command, and end it and its descendants when the supervisor ends, even by `kill -9`.

    python -m deployments.guard SECONDS COMMAND...

Standard input is a pipe that the supervisor holds open and never writes to; its end of file means stop. All
descendants then get SIGTERM, and those still running after SECONDS get SIGKILL. On Linux the guard adopts orphans
(PR_SET_CHILD_SUBREAPER), so a flow run that outlives its pool worker, or a child in another process group or session,
is ended too. The guard exits with the command's status.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import psutil

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def main() -> int:
    """Run the command in `sys.argv` until it ends or standard input closes."""
    grace, command = float(sys.argv[1]), sys.argv[2:]
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_guard)
    threading.Thread(target=_stop_at_end_of_input, args=(grace,), daemon=True).start()
    status = _reap_until(child.pid)
    _signal_all(signal.SIGKILL)
    return status


def _die_with_guard() -> None:
    """In the child, before exec: the command is killed if the guard is."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop_at_end_of_input(grace: float) -> None:
    while os.read(0, 1):
        pass
    _signal_all(signal.SIGTERM)
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline and psutil.Process().children():
        time.sleep(0.05)
    _signal_all(signal.SIGKILL)


def _signal_all(number: int) -> None:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _reap_until(pid: int) -> int:
    """Reap ended children, adopted ones included, until `pid` ends; returns its status as a shell reports it."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
