"""Several processes of the endpoint on one port: they share its socket, and all else through the ledger.

Each has its own router and its own connections to the workers. One that dies is started again; SIGTERM and the end of
this process end them all.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from deployments.endpoint.listening import announce, url_of

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Fleet:
    """`command` starts a process, which gets the number of the socket's descriptor as its last argument."""

    def __init__(self, command: Sequence[str], listening: socket.socket, count: int, file: Path | None) -> None:
        self._command, self._listening, self._count, self._file = command, listening, count, file
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._ready: set[int] = set()
        self._announced = self._stopping = False

    def run(self) -> int:
        """Returns when all have ended: with 0 where that was ordered, with 1 where one ended before it could answer."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        for _ in range(self._count):
            self._start()
        failed = False
        while self._processes:
            ended, _ = os.wait()
            process = self._processes.pop(ended, None)
            if process is None or self._stopping:
                continue
            if ended in self._ready:
                print(f"process {ended} of the endpoint has ended and is started again", file=sys.stderr, flush=True)
                self._start()
            else:
                failed = True
                self._stop()
        return 1 if failed else 0

    def _start(self) -> None:
        descriptor = self._listening.fileno()
        process = subprocess.Popen(
            [*self._command, str(descriptor)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=[descriptor],
            start_new_session=True,  # a Ctrl-C is for this process, which then ends them
            preexec_fn=_die_with_parent,
        )
        self._processes[process.pid] = process
        if self._stopping:  # since it was being started
            self._end(process.pid)
        threading.Thread(target=self._hear, args=(process,), daemon=True).start()

    def _hear(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the line that says that it takes requests; announce the fleet with the last one."""
        assert process.stdout is not None
        if not process.stdout.readline():
            return
        self._ready.add(process.pid)
        if len(self._ready) >= self._count and not self._announced:
            self._announced = True
            announce(url_of(self._listening), self._file, sorted(self._processes))

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._listening.close()  # nobody connects any more once they have closed it, too
        for pid in list(self._processes):
            self._end(pid)

    def _end(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)  # not by `Popen`, which would take the end of one away from `run`


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
