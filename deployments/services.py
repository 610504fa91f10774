"""The processes of `fugu up`, each under a guard that ends it and its descendants when this process ends."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from models.errors import PermanentError

GRACE_S = 5.0
"""Time between SIGTERM and SIGKILL."""


class ServiceEnded(PermanentError):
    """A process that `fugu up` needs ended by itself."""


@dataclass(frozen=True)
class Service:
    """One guarded process; its output goes to `log`. `stays`: whether ending by itself is an error."""

    name: str
    log: Path
    stays: bool
    guard: subprocess.Popen[bytes]
    grace_s: float

    def check(self) -> None:
        """Raises ServiceEnded, naming the log, if the process failed, or ended although it should stay."""
        status = self.guard.poll()
        if status is not None and (self.stays or status != 0):
            raise ServiceEnded(f"{self.name} ended with status {status}: see {self.log}")

    @property
    def ended(self) -> bool:
        return self.guard.poll() is not None

    def release(self) -> None:
        """Tell the guard to stop the process; returns immediately."""
        if self.guard.stdin is not None:
            with contextlib.suppress(OSError):
                self.guard.stdin.close()


class Services:
    """Context manager that stops everything it started when it exits, the Prefect server last, in bounded time."""

    def __init__(self, home: Path, lock: IO[str] | None = None) -> None:
        self.logs = home / "logs"
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = home
        self._inherited = () if lock is None else (lock.fileno(),)
        self._running: list[Service] = []

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        stays: bool = True,
        grace_s: float | None = None,
    ) -> Service:
        """Start a command (its first word is a Python module) in the home, with exactly this environment.

        `grace_s`: seconds between SIGTERM and SIGKILL, where it needs another time than `GRACE_S`.

        The guard inherits the home's lock, the command does not: the home is in use until the guard has ended.
        """
        log, grace_s = self.logs / f"{name}.log", GRACE_S if grace_s is None else grace_s
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
            guard = subprocess.Popen(
                [sys.executable, "-m", "deployments.guard", str(grace_s), sys.executable, "-m", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=self._folder,
                pass_fds=self._inherited,
                start_new_session=True,
                umask=0o077,
            )
        service = Service(name, log, stays, guard, grace_s)
        self._running.append(service)
        return service

    def check(self) -> None:
        """Raises ServiceEnded if a process has failed, or ended although it should stay."""
        for service in self._running:
            service.check()

    def stop(self) -> None:
        """End all processes: first those that use the Prefect server, then the server, which was started first."""
        for group in (self._running[1:], self._running[:1]):
            for service in group:
                service.release()
            for service in group:
                try:
                    service.guard.wait(service.grace_s + 3)
                except subprocess.TimeoutExpired:
                    service.guard.kill()
                    service.guard.wait()
        self._running.clear()

    def __enter__(self) -> Services:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
