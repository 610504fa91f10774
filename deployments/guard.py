"""Runs one command, and ends it with all that it started when the supervisor ends, however that ends.

    python -m deployments.guard SECONDS COMMAND...

Standard input is a pipe that the supervisor holds open and never writes to: its end, which also a `kill -9`
of the supervisor brings about, is the order to stop. Everything below gets SIGTERM, and what still runs
after SECONDS gets SIGKILL. On Linux the guard adopts orphans, so a flow run that outlives its pool worker, or
a child that left for a session of its own, is ended too. It exits with the command's status.
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
    """Run the command of `sys.argv` until it ends or is told to."""
    grace, command = float(sys.argv[1]), sys.argv[2:]
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_guard)
    threading.Thread(target=_stop_at_end_of_input, args=(grace,), daemon=True).start()
    status = _reap_until(child.pid)
    _signal_all(signal.SIGKILL)
    return status


def _die_with_guard() -> None:
    """In the child, before exec: a guard that is itself killed takes the command with it."""
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
    """Collect every child that ends, adopted ones too, until `pid` does; its status as a shell gives it."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
