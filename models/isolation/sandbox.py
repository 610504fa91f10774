"""The sandbox: runs a worker's Python code in an isolated process.

The process (`confine.py`) has no network, cannot start others, runs as `nobody`, sees only the standard library and a
scratch folder, and has limits on processor time, memory, threads, file size, output and wall time. Expected results
stay in the calling process: the sandbox only returns what the code computed. Isolation is not optional: at least
`landlock+seccomp` (Linux 5.13, x86_64 or aarch64), plus network, IPC and mount namespaces where the system permits
them; else IsolationUnavailable.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from models.errors import IsolationUnavailable
from models.isolation import seccomp

_SCRIPT = Path(__file__).with_name("confine.py")
_START_S = 20.0  # to start an interpreter on a busy machine; the job's own time starts after it


@dataclass(frozen=True)
class Limits:
    """Resource limits of one run. `wall_s` counts from the moment when all restrictions are in force."""

    cpu_s: float = 5.0
    wall_s: float = 10.0
    memory_bytes: int = 512 * 2**20
    threads: int = 64
    file_bytes: int = 2**20
    output_bytes: int = 2**20

    def resources(self) -> dict[str, int]:
        """Names and values for setrlimit."""
        return {
            "RLIMIT_CPU": math.ceil(self.cpu_s),
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_NPROC": self.threads,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": 64,
            "RLIMIT_CORE": 0,
            "RLIMIT_MEMLOCK": 0,
        }


@dataclass(frozen=True)
class Finished:
    """`ended`: `exit 0`, another exit status, `killed by signal 9`, `out of time` or `too much output`."""

    output: bytes
    ended: str
    level: str


def run(
    job: Mapping[str, Any], stdin: bytes = b"", limits: Limits | None = None, *, namespaces: bool = True
) -> Finished:
    """Run one job (its fields are in `confine.py`); `namespaces=False` uses no namespaces.

    Raises IsolationUnavailable before any code is sent.
    """
    limits = limits or Limits()
    with _started(limits, namespaces) as (process, out), Stream(process, out, 1_000) as stream:
        level = _ready(stream.until_newline(_START_S))
        text = json.dumps(job).encode()
        stream.limit = limits.output_bytes
        stream.send(struct.pack("=Q", len(text)) + text + stdin)
        ended = stream.until_end(limits.wall_s)
        if not ended:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
            ended = _status(process.poll())
        return Finished(bytes(stream.received), ended, level)


@cache
def isolation() -> str:
    """The isolation level of runs on this machine, found by an empty run. Raises IsolationUnavailable."""
    return run({"code": "", "entry": None, "calls": []}).level


def _ready(line: bytes) -> str:
    word, _, rest = line.decode(errors="replace").strip().partition(" ")
    if word != "ready":
        raise IsolationUnavailable(f"code cannot be run in isolation here: {rest or 'the sandbox did not start'}")
    return rest


def _status(code: int | None) -> str:
    if code is None:
        return "out of time"
    return f"exit {code}" if code >= 0 else f"killed by signal {-code}"


@contextlib.contextmanager
def _started(limits: Limits, namespaces: bool) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The confined process and the descriptor of its output; both, and the scratch folder, are removed afterwards."""
    if not sys.platform.startswith("linux"):
        raise IsolationUnavailable("code is graded on Linux only")
    config = {"limits": limits.resources(), "filter": seccomp.program().hex(), "namespaces": namespaces}
    with contextlib.ExitStack() as after:
        scratch = tempfile.mkdtemp(prefix="fugu-grading-")
        after.callback(shutil.rmtree, scratch, ignore_errors=True)
        out, far_end = os.pipe()
        after.callback(os.close, out)
        try:
            process = spawn(_SCRIPT, config | {"out": far_end, "scratch": scratch}, far_end)
        finally:
            os.close(far_end)
        after.callback(kill, process)
        yield process, out


def spawn(script: Path, config: Mapping[str, Any], descriptor: int) -> subprocess.Popen[bytes]:
    """Start a script that confines itself as `config` says, in a new process group that inherits one descriptor."""
    return subprocess.Popen(
        [sys.executable, "-S", "-P", "-s", "-B", "-X", "utf8", str(script), json.dumps(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"PYTHONHASHSEED": "0"},  # the confined script clears it
        start_new_session=True,
        umask=0o022,  # another user reads the files that it writes, whatever the caller's umask is
        pass_fds=(descriptor,),
        bufsize=0,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole process group; its id stays valid until the process is waited for."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Stream:
    """Writes a process's input and reads its output concurrently, within limits."""

    def __init__(self, process: subprocess.Popen[bytes], out: int, limit: int) -> None:
        assert process.stdin is not None
        self.received, self.limit = bytearray(), limit
        self._stdin, self._out, self._pending = process.stdin, out, memoryview(b"")
        self._selector = selectors.DefaultSelector()
        self._selector.register(out, selectors.EVENT_READ)
        os.set_blocking(self._stdin.fileno(), False)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        self._stdin.close()

    def send(self, data: bytes) -> None:
        """Queue this as the whole input; it is written, and the input closed, while output is read."""
        self._pending = memoryview(data)
        self._selector.register(self._stdin, selectors.EVENT_WRITE)

    def until_newline(self, seconds: float) -> bytes:
        """Read the first line and remove it from `received`."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self.received and self._step(deadline):
            pass
        line, _, rest = bytes(self.received).partition(b"\n")
        self.received = bytearray(rest)
        return line

    def until_end(self, seconds: float) -> str:
        """Read until the other end closes; the reason if stopped before that, else ""."""
        deadline = time.monotonic() + seconds
        while self._step(deadline):
            if len(self.received) > self.limit:
                return "too much output"
        return "out of time" if time.monotonic() >= deadline else ""

    def _step(self, deadline: float) -> bool:
        """Read or write once; False at the end of the output or of the time."""
        for key, _ in self._selector.select(max(0.0, deadline - time.monotonic())):
            if key.fileobj is self._stdin:
                self._write()
            else:
                chunk = os.read(self._out, 65_536)
                if not chunk:
                    return False
                self.received += chunk
        return time.monotonic() < deadline

    def _write(self) -> None:
        try:
            self._pending = self._pending[os.write(self._stdin.fileno(), self._pending[:65_536]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # the process ended, or closed its input, before reading all of it
            self._pending = self._pending[:0]
        if not self._pending:
            self._selector.unregister(self._stdin)
            self._stdin.close()
