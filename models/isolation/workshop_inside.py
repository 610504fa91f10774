"""Script inside the workshop: it confines its own process, then runs command lines in a copy of a repository.

`workshop.py` starts it in a bare interpreter; it imports only the standard library and `confine.py`. The first process
only waits. Its child is process 1 of a PID namespace, so that no process started by a command outlives it: all that
still run when the command ends, or its time is over, are killed. Restrictions: PID, network, IPC and mount namespaces
with a read-only root of the given paths and an in-memory file system for the copy; a separate user, no capabilities,
Landlock; for the commands also limits and seccomp.

Protocol. argv[1]: JSON {out, scratch, reads, hides, limits, filter, bytes, output, answer, port}. The script first
writes one line to the socket `out`, `ready LEVEL` (with the descriptor of a socket listening on the namespace's
loopback, where `port` is not 0) or `refused REASON`. It then reads from stdin 8 bytes of length and the job: JSON
{files, home, env, runs: [{argv, stdin, wall_s, errors}]}. Last it writes to `out` JSON {runs: [{ended, output,
seconds}], files}. Files are base64.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import importlib.util
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # a bare interpreter does not search the script's folder
    _found = importlib.util.spec_from_file_location("confine", Path(__file__).with_name("confine.py"))
    assert _found is not None and _found.loader is not None
    confine = importlib.util.module_from_spec(_found)
    _found.loader.exec_module(confine)
else:
    from models.isolation import confine

ROOM = "/room"
COPY, HOME, TEMPORARY = f"{ROOM}/copy", f"{ROOM}/home", f"{ROOM}/tmp"
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
FIRST_USER = 0x4F000000  # far above the ids in use, so that the process limit counts this workshop's processes only
NEW_PID, DUMPABLE = 0x20000000, 4
LEFT_OUT = frozenset({"__pycache__", ".git", "node_modules", ".venv"})
MAX_FILES = 2000


def enter(config: dict[str, Any]) -> socket.socket | None:
    """Set up root, /proc and loopback as process 1 of the namespaces; return the listening socket, if wanted."""
    root = config["scratch"]
    confine.mount("none", "/", None, confine.REC | confine.PRIVATE)
    size = f"size={config['bytes']},nr_inodes=64k,mode=755"
    confine.mount("tmpfs", root, "tmpfs", confine.NOSUID | confine.NODEV, size)
    for path in sorted((*config["reads"], *DEVICES)):  # a folder comes before its contents
        confine.place(path, root + path)
    for path in config["hides"]:
        if os.path.isdir(root + path):
            confine.mount("tmpfs", root + path, "tmpfs", confine.READ_ONLY | confine.NOSUID, "size=4k")
    os.makedirs(root + "/proc", exist_ok=True)
    confine.mount("proc", root + "/proc", "proc", confine.NOSUID | confine.NODEV)
    os.symlink("/proc/self/fd", root + "/dev/fd")
    for path in (ROOM, COPY, HOME, TEMPORARY, "/etc"):
        os.makedirs(root + path, exist_ok=True)
    if not os.path.exists(root + "/tmp"):  # some programs ignore TMPDIR
        os.symlink(TEMPORARY, root + "/tmp")
    os.chdir(root)
    confine.syscall(confine.PIVOT_ROOT[os.uname().machine], b".", b".")
    confine.checked(confine.LIBC.umount2(b".", confine.DETACH))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        fcntl.ioctl(device, 0x8914, struct.pack("16sH", b"lo", 0x41))  # SIOCSIFFLAGS: up, running
    if not config["port"]:
        return None
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", config["port"]))
    listening.listen(128)
    return listening


def settle(reads: list[str]) -> None:
    """Switch from root to an unused user, if root, then apply the restrictions that process 1 shares."""
    user = os.geteuid()
    if user == 0:
        user = FIRST_USER + struct.unpack("=I", os.urandom(4))[0] % 0x20000000
        try:
            os.chown(COPY, user, user)
        except OSError:  # a container that maps few user ids
            user = confine.NOBODY
    for path in (ROOM, COPY, HOME, TEMPORARY):
        if os.geteuid() == 0:
            os.chown(path, user, user)
    passwd = f"root:x:0:0::/:/bin/false\nagent:x:{user}:{user}::{HOME}:/bin/sh\n"
    for name, text in (("passwd", passwd), ("hosts", "127.0.0.1 localhost\n"), ("nsswitch.conf", "hosts: files\n")):
        if not os.path.exists(f"/etc/{name}"):
            Path(f"/etc/{name}").write_text(text)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    confine.drop_privileges()
    confine.checked(confine.LIBC.prctl(DUMPABLE, 0, 0, 0, 0))  # commands cannot read its memory through /proc
    confine.checked(confine.LIBC.prctl(confine.PDEATHSIG, 9, 0, 0, 0))
    confine.checked(confine.LIBC.prctl(confine.NO_NEW_PRIVS, 1, 0, 0, 0))
    confine.landlock([*reads, "/proc", "/etc"], ROOM, [*DEVICES])


def start(argv: list[str], env: dict[str, str], config: dict[str, Any], ends: tuple[int, int, int]) -> int:
    """Start a command as a child process with its limits and filter; `ends` are its stdin, stdout and stderr."""
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        for number, end in enumerate(ends):
            os.dup2(end, number)
        os.chdir(COPY)
        for name, value in config["limits"].items():
            resource.setrlimit(getattr(resource, name), (value, value))
        for number in range(1, signal.NSIG):
            if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
                signal.signal(number, signal.SIG_DFL)
        confine.seccomp(bytes.fromhex(config["filter"]))
        os.execvpe(argv[0], argv, env)
    except BaseException as error:
        os.write(2, f"{argv[0]}: {error}\n".encode())
    os._exit(127)


def run(job: dict[str, Any], env: dict[str, str], config: dict[str, Any]) -> dict[str, Any]:
    """Run one command until it ends or its time is over, then kill all that is left of it. Keeps the output's end."""
    began, limit = time.monotonic(), config["output"]
    fed, written = os.memfd_create("input"), os.pipe()
    os.write(fed, base64.b64decode(job["stdin"]))
    os.lseek(fed, 0, os.SEEK_SET)
    errors = written[1] if job["errors"] else os.open("/dev/null", os.O_WRONLY)
    child = start(job["argv"], env, config, (fed, written[1], errors))
    for descriptor in {fed, written[1], errors}:
        os.close(descriptor)
    output, ended, open_still = bytearray(), "", True
    while not ended:
        left = began + job["wall_s"] - time.monotonic()
        if select.select([written[0]] if open_still else [], [], [], max(0.0, min(left, 0.02)))[0]:
            chunk = os.read(written[0], 65_536)
            open_still = bool(chunk)
            output += chunk
            del output[:-limit]
        ended = reap(child) or ("out of time" if left <= 0 else "")
    clear()
    os.set_blocking(written[0], False)
    while chunk := _read(written[0]):
        output += chunk
    os.close(written[0])
    text = base64.b64encode(output[-limit:]).decode()
    return {"ended": ended, "output": text, "seconds": round(time.monotonic() - began, 3)}


def reap(child: int) -> str:
    """Reap all ended children; return how `child` ended, or "" while it runs."""
    ended = ""
    try:
        while (gone := os.waitpid(-1, os.WNOHANG))[0]:
            if gone[0] == child:
                code = os.waitstatus_to_exitcode(gone[1])
                ended = f"exit {code}" if code >= 0 else f"killed by signal {-code}"
    except ChildProcessError:
        pass
    return ended


def clear() -> None:
    """Kill all processes except process 1; the kernel signals all in one call, so that no fork escapes."""
    try:
        while True:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except BlockingIOError:
        return b""


def lay_out(folder: str, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(text))


def gather(limit: int) -> dict[str, str] | None:
    """The copy's regular files after the commands; `None` where they exceed `limit` bytes."""
    found: dict[str, str] = {}
    for folder, folders, names in os.walk(COPY):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.islink(path) or not os.path.isfile(path) or len(found) == MAX_FILES:
                continue
            relative = os.path.relpath(path, COPY)
            try:
                relative.encode()
                if (limit := limit - os.path.getsize(path)) < 0:
                    return None
                found[relative] = base64.b64encode(Path(path).read_bytes()).decode()
            except (OSError, UnicodeEncodeError):
                continue
    return found


def work(config: dict[str, Any], out: socket.socket) -> None:
    """As process 1: apply the restrictions, report it, run the job."""
    try:
        listening = enter(config)
        settle(config["reads"])
    except (OSError, ValueError, KeyError, AttributeError, AssertionError) as error:
        out.sendall(f"refused {type(error).__name__}: {error}\n".encode())
        return
    word = b"ready landlock+seccomp+namespaces\n"
    socket.send_fds(out, [word], [listening.fileno()] if listening else [])
    if listening:
        listening.close()
    job = json.loads(confine.read_exactly(struct.unpack("=Q", confine.read_exactly(8))[0]))
    lay_out(COPY, job["files"])
    lay_out(HOME, job["home"])
    runs = [run(one, job["env"], config) for one in job["runs"]]
    out.sendall(json.dumps({"runs": runs, "files": gather(config["answer"])}).encode())


def main() -> None:
    config = json.loads(sys.argv[1])
    os.set_inheritable(config["out"], False)
    out = socket.socket(fileno=config["out"])
    user, group = os.geteuid(), os.getegid()
    confine.LIBC.prctl(confine.PDEATHSIG, 9, 0, 0, 0)  # when it dies, process 1 and the whole namespace die
    spaces = confine.NEW_NS | confine.NEW_UTS | confine.NEW_IPC | confine.NEW_NET | NEW_PID
    try:
        confine.checked(confine.LIBC.unshare(spaces if user == 0 else spaces | confine.NEW_USER))
        if user != 0:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{confine.NOBODY} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{confine.NOBODY} {group} 1")
    except OSError as error:
        out.sendall(f"refused {error}\n".encode())
        return
    if os.fork() == 0:
        try:
            work(config, out)
        finally:
            os._exit(0)
    out.close()
    os.close(0)
    os.wait()


if __name__ == "__main__":
    main()
