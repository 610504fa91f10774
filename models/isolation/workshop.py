"""The workshop: runs command lines, isolated from the machine and the network, in a copy of a repository.

It does for whole programs (a coding agent, a repository's test suite) what `sandbox.py` does for a piece of code.
Commands may start processes and write files in a copy held in memory; of the machine they see only the listed programs
and libraries. There is no network except one port of the workshop's own loopback: its listening socket is passed to
the caller, which alone can be reached there.
Isolation is not optional: namespaces (of processes, network, mounts), Landlock and seccomp, or IsolationUnavailable.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import posixpath
import shutil
import socket
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from models.errors import BadInput, IsolationUnavailable
from models.isolation import seccomp
from models.isolation.sandbox import Stream, kill, spawn
from models.isolation.workshop_inside import HOME, TEMPORARY

Files = Mapping[str, bytes]
"""A repository's regular files by their relative paths ("/" between folders)."""

PORT = 8000
"""The port of every workshop: each has its own loopback, so that the port is always free."""

SYSTEM = (
    "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/usr", "/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl/certs",
)  # fmt: skip
SECRET = tuple(Path(__file__).resolve().parents[2] / name for name in ("data", ".fugu"))
"""The project's data and default home: answers, verifying files and the ledger. They are hidden in every workshop, even
if the project is in a folder of `SYSTEM`."""

_SCRIPT = Path(__file__).with_name("workshop_inside.py")
_START_S = 20.0  # as in `sandbox.py`
_MARGIN_S = 10.0  # for writing and collecting the files


@dataclass(frozen=True)
class Room:
    """Resource limits of one workshop's commands.

    `memory_bytes`: data of each process; `disk_bytes`: all files together. `address_bytes`: address space of each
    process, which bounds shared memory too; 0: no limit, for runtimes that reserve addresses by the terabyte.
    `wall_s`: of a command that sets none itself; `cpu_s`: of each process. `output_bytes`: kept from the end of a
    command's output. `answer_bytes`: of the collected files.
    """

    cpu_s: int = 30
    wall_s: float = 60.0
    memory_bytes: int = 2**30
    address_bytes: int = 0
    processes: int = 64
    disk_bytes: int = 128 * 2**20
    output_bytes: int = 64 * 2**10
    answer_bytes: int = 32 * 2**20

    def resources(self) -> dict[str, int]:
        """Names and values for setrlimit."""
        addresses = {"RLIMIT_AS": self.address_bytes} if self.address_bytes else {}
        return addresses | {
            "RLIMIT_CPU": self.cpu_s,
            "RLIMIT_DATA": self.memory_bytes,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_FSIZE": self.disk_bytes,
            "RLIMIT_NOFILE": 1024,
            "RLIMIT_CORE": 0,
            "RLIMIT_MEMLOCK": 2**16,
        }


@dataclass(frozen=True)
class Command:
    """One command line, run in the copy's top folder. `wall_s`: 0 means the room's. `errors`: keep stderr too."""

    argv: Sequence[str]
    stdin: bytes = b""
    wall_s: float = 0.0
    errors: bool = True


@dataclass(frozen=True)
class CommandResult:
    """`ended`: `exit 0`, another exit status, `killed by signal 9` or `out of time`. `output`: stdout and stderr."""

    ended: str
    output: bytes
    seconds: float

    @property
    def text(self) -> str:
        return self.output.decode(errors="replace")


@dataclass(frozen=True)
class WorkshopResult:
    """How each command ended, and the files after the last one. `level`: the isolation level."""

    runs: tuple[CommandResult, ...]
    files: dict[str, bytes]
    level: str


@dataclass
class Workshop:
    """An open workshop. `listening`: the listening socket of its port, if it was opened with one."""

    level: str
    listening: socket.socket | None
    _room: Room
    _stream: Stream
    _env: dict[str, str] = field(default_factory=dict)

    def work(
        self, files: Files, commands: Sequence[Command], env: Mapping[str, str] | None = None, home: Files | None = None
    ) -> WorkshopResult:
        """Write the files, run the commands one after another, collect the files. Only once per workshop.

        `env`: variables in addition to the workshop's own; `home`: files of the home folder, which are not collected.

        Blocks: call it in a thread. Raises BadInput for a path outside the repository, IsolationUnavailable where the
        workshop itself failed.
        """
        waits = [command.wall_s or self._room.wall_s for command in commands]
        runs = [
            {"argv": list(command.argv), "stdin": _text(command.stdin), "wall_s": wait, "errors": command.errors}
            for command, wait in zip(commands, waits, strict=True)
        ]
        job = {"files": _texts(files), "home": _texts(home or {}), "runs": runs, "env": self._env | dict(env or {})}
        text = json.dumps(job).encode()
        # Base64, JSON and each command's output add to the size of the files.
        self._stream.limit = 2 * self._room.answer_bytes + 2 * self._room.output_bytes * len(commands) + 2**20
        self._stream.send(struct.pack("=Q", len(text)) + text)
        stopped = self._stream.until_end(sum(waits) + _MARGIN_S)
        try:
            answer = json.loads(bytes(self._stream.received))
            if answer["files"] is None:
                return WorkshopResult(
                    tuple(CommandResult("too many files", b"", 0.0) for _ in commands), {}, self.level
                )
        except ValueError:
            raise IsolationUnavailable(f"the workshop failed: {stopped or 'it ended early'}") from None
        ran = tuple(
            CommandResult(run["ended"], base64.b64decode(run["output"]), run["seconds"]) for run in answer["runs"]
        )
        gathered = {checked(path): base64.b64decode(data) for path, data in answer["files"].items()}
        return WorkshopResult(ran, gathered, self.level)


@contextlib.contextmanager
def opened(
    room: Room | None = None, *, reads: Sequence[Path] = (), hides: Sequence[Path] = (), port: bool = False
) -> Iterator[Workshop]:
    """Open a workshop with all restrictions in force; its processes are killed at the end of the block.

    `reads`: files and folders that commands may read and execute, but not change, in addition to the system's and this
    interpreter's. `hides`: folders hidden from them, in addition to `SECRET`, even inside readable ones.
    Raises IsolationUnavailable.
    """
    if not sys.platform.startswith("linux"):
        raise IsolationUnavailable("commands are run on Linux only")
    room = room or Room()
    config = {
        "limits": room.resources(),
        "filter": seccomp.program_for_commands().hex(),
        "reads": readable(reads),
        "hides": [str(path.resolve()) for path in (*SECRET, *hides)],
        "bytes": room.disk_bytes,
        "output": room.output_bytes,
        "answer": room.answer_bytes,
        "port": PORT if port else 0,
    }
    with contextlib.ExitStack() as after:
        scratch = tempfile.mkdtemp(prefix="fugu-workshop-")
        after.callback(shutil.rmtree, scratch, ignore_errors=True)
        ours, theirs = socket.socketpair()
        after.callback(ours.close)
        with theirs:
            process = spawn(_SCRIPT, config | {"out": theirs.fileno(), "scratch": scratch}, theirs.fileno())
        after.callback(kill, process)
        level, listening = _ready(ours)
        if listening is not None:
            after.callback(listening.close)
        stream = after.enter_context(Stream(process, ours.fileno(), room.answer_bytes))
        yield Workshop(level, listening, room, stream, _environment())


@cache
def isolation() -> str:
    """The isolation level of workshops on this machine, found by opening one. Raises IsolationUnavailable."""
    with opened() as workshop:
        return workshop.level


def readable(more: Sequence[Path] = ()) -> list[str]:
    """The paths that commands can read: system programs and libraries, this interpreter's installation, and `more`."""
    found = [path for path in SYSTEM if os.path.exists(path)]
    for path in (sys.base_prefix, *(str(path.resolve()) for path in more)):
        if not os.path.exists(path):
            raise BadInput(f"{path} is to be readable in the workshop, but does not exist", "reads")
        if not any(path == known or path.startswith(known + "/") for known in found):
            found.append(path)
    return found


def checked(path: str) -> str:
    """The path, if it is a plain relative path inside a repository. Raises BadInput if not."""
    plain = bool(path) and "\0" not in path and path[0] != "/" and posixpath.normpath(path) == path
    if not plain or path in (".", "..") or path.startswith("../"):
        raise BadInput(f"{path!r} is not a path inside a repository", "files")
    return path


def _environment() -> dict[str, str]:
    folders = [f"{sys.base_prefix}/bin", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
    return {
        "PATH": ":".join(dict.fromkeys(folders)),
        "HOME": HOME,
        "TMPDIR": TEMPORARY,
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
    }


def _ready(ours: socket.socket) -> tuple[str, socket.socket | None]:
    """The isolation level, and the listening socket that was sent with it."""
    ours.settimeout(_START_S)
    try:
        line, descriptors, _, _ = socket.recv_fds(ours, 1000, 1)
    except OSError:
        line, descriptors = b"", []
    ours.settimeout(None)
    word, _, rest = line.decode(errors="replace").strip().partition(" ")
    if word != "ready":
        raise IsolationUnavailable(f"commands cannot be run in isolation here: {rest or 'the workshop did not open'}")
    return rest, socket.socket(fileno=descriptors[0]) if descriptors else None


def _texts(files: Files) -> dict[str, str]:
    return {checked(path): _text(data) for path, data in files.items()}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
