"""Script inside the sandbox: it confines its own process, then reads a job from stdin and runs it.

`sandbox.py` starts it in a bare interpreter (no site, no environment); it imports only the standard library.
A worker's code is read only after all restrictions are in force, and the expected results never enter this process.
Restrictions, in order: network, IPC and mount namespaces with a small root, read-only except /tmp (where the system
permits namespaces), resource limits, user `nobody`, no capabilities, Landlock, seccomp.

Protocol. argv[1]: JSON {out, scratch, limits, filter, namespaces}. The script first writes one line to the descriptor
`out`, `ready LEVEL` or `refused REASON`. It then reads from stdin 8 bytes of length and the job: JSON
{code, entry, calls}. With an entry, each call's result is a line of JSON on `out`, {"value": ...} or {"error": ...};
without one, the code runs as a program whose stdout is `out` and whose stdin is the rest of stdin.
"""

from __future__ import annotations

import _sitebuiltins
import builtins
import ctypes
import json
import linecache
import os
import resource
import struct
import sys
import types
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
NOBODY = 65534
FILE = "candidate.py"
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")

# linux/sched.h, linux/mount.h, linux/prctl.h, linux/landlock.h
NEW_NS, NEW_UTS, NEW_IPC, NEW_USER, NEW_NET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x40000000
READ_ONLY, NOSUID, NODEV = 1, 2, 4  # the same bits for mount and mount_setattr
BIND, REC, PRIVATE, DETACH = 0x1000, 0x4000, 1 << 18, 2
RECURSIVE, FROM_HERE = 0x8000, -100
PDEATHSIG, SECCOMP, NO_NEW_PRIVS, FILTER = 1, 22, 38, 2
READ_FILE, WRITE_FILE, READ_DIR, EXECUTE = 1 << 2, 1 << 1, 1 << 3, 1
LANDLOCK_FS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}


def syscall(number: int, *arguments: Any) -> int:
    return checked(LIBC.syscall(number, *arguments))


def checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [text.encode() if text is not None else None for text in (source, target, kind, data)]
    checked(LIBC.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]))


def enter_namespaces(root: str, paths: list[str]) -> None:
    """Enter namespaces with no network but a loopback that is down, and a root of `paths` and a small /tmp.

    Raises OSError where the system does not permit it.
    """
    user, group = os.geteuid(), os.getegid()
    spaces = NEW_NS | NEW_UTS | NEW_IPC | NEW_NET
    checked(LIBC.unshare(spaces if user == 0 else spaces | NEW_USER))
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{NOBODY} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1")
    mount("none", "/", None, REC | PRIVATE)
    mount("tmpfs", root, "tmpfs", NOSUID | NODEV, "size=16m,nr_inodes=4k,mode=755")
    for path in sorted(paths):  # a folder comes before its contents, which then exist already
        place(path, root + path)
    os.mkdir(root + "/tmp")
    os.chmod(root + "/tmp", 0o777)
    os.chdir(root)
    syscall(PIVOT_ROOT[os.uname().machine], b".", b".")
    checked(LIBC.umount2(b".", DETACH))


def place(path: str, target: str) -> None:
    """Make `path` visible at `target`: links are copied, all else bind-mounted read-only (devices stay writable)."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
    elif not os.path.lexists(target):
        os.mkdir(target) if os.path.isdir(path) else Path(target).touch()
        mount(path, target, None, BIND | REC)
        make_read_only(target)


def make_read_only(target: str) -> None:
    """Make the mount at `target` and all mounts below it read-only. Raises OSError where the kernel refuses.

    Landlock alone is not enough: it does not restrict changes to a file's mode, times and attributes, nor before its
    version 3 to its length. Unless the caller is root, the code runs as the owner of these files.
    """
    attributes = struct.pack("=QQQQ", READ_ONLY | NOSUID, 0, 0, 0)  # set, clear, propagation, user namespace
    try:
        syscall(442, FROM_HERE, target.encode(), RECURSIVE, attributes, len(attributes))
    except OSError as error:
        raise OSError(error.errno, f"no read-only mount: {error.strerror}", target) from None


def drop_privileges() -> None:
    """Switch from root to `nobody`, if root; drop all capabilities in any case."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    header, empty = struct.pack("=Ii", 0x20080522, 0), bytes(24)  # _LINUX_CAPABILITY_VERSION_3
    checked(LIBC.capset(header, empty))


def landlock(readable: list[str], scratch: str | None, devices: list[str] | None = None) -> None:
    """Restrict files to reading beneath `readable` and writing beneath `scratch` (None: nowhere).

    With `devices` (which may be read and written) programs beneath both may be executed, and TCP is restricted by the
    network namespace only. Raises OSError where Landlock is not supported.
    """
    version = syscall(444, None, 0, 1)
    everything = LANDLOCK_FS.get(version, (1 << 16) - 1)
    programs, network = (0, 3) if devices is None else (EXECUTE, 0)
    attributes = struct.pack("=QQQ", everything, network, 3)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = syscall(444, attributes, len(attributes), 0)

    def allow(path: str, rights: int) -> None:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        directory = os.path.isdir(path)
        rule = struct.pack("=Qi", rights if directory else rights & ~READ_DIR, descriptor)
        syscall(445, ruleset, 1, rule, 0)
        os.close(descriptor)

    for path in readable:
        if devices is None and scratch is not None and path in sys.path and os.path.isdir(path):
            allow(path, READ_DIR)
            for part in Path(path).iterdir():  # the standard library without installed packages
                if part.name not in ("site-packages", "dist-packages") and part.exists():
                    allow(str(part), READ_FILE | READ_DIR)
        else:
            allow(path, READ_FILE | READ_DIR | programs)
    for path in devices or []:
        allow(path, READ_FILE | WRITE_FILE)
    if scratch is not None:
        allow(scratch, everything if programs else everything & ~EXECUTE)
    syscall(446, ruleset, 0)
    os.close(ruleset)


def seccomp(program: bytes) -> None:
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    checked(LIBC.prctl(SECCOMP, FILTER, header, 0, 0))


def confine(config: dict[str, Any]) -> str:
    """Apply all restrictions and return the isolation level. Raises OSError where a required one fails."""
    readable = [path for path in [*sys.path, *LIBRARIES] if os.path.exists(path)]
    outside_user, scratch = os.geteuid(), config["scratch"]
    level = "landlock+seccomp"
    try:
        if not config["namespaces"]:
            raise PermissionError("namespaces are switched off")
        enter_namespaces(scratch, readable)
        level, scratch = f"{level}+namespaces", "/tmp"
    except OSError:
        if os.path.ismount(scratch):  # a half-built root: its bind mounts would be where the code may write
            checked(LIBC.umount2(scratch.encode(), DETACH))
        if outside_user == 0:
            os.chown(scratch, NOBODY, NOBODY)
    for name, value in config["limits"].items():
        # without a separate user the limit would count all the caller's threads; forks are forbidden anyway
        if name != "RLIMIT_NPROC" or outside_user == 0 or level.endswith("namespaces"):
            resource.setrlimit(getattr(resource, name), (value, value))
    drop_privileges()
    checked(LIBC.prctl(PDEATHSIG, 9, 0, 0, 0))
    checked(LIBC.prctl(NO_NEW_PRIVS, 1, 0, 0, 0))
    os.chdir(scratch)
    landlock(readable, scratch)
    seccomp(bytes.fromhex(config["filter"]))
    try_the_locks()
    return level


def try_the_locks() -> None:
    """Check the restrictions. Raises OSError unless the standard library is readable, and this script, sockets and
    forks are not available."""
    Path(os.__file__).read_bytes()
    if os.access(__file__, os.F_OK) and openable(__file__):
        raise PermissionError("files outside are readable")
    if LIBC.socket(2, 1, 0) >= 0 or LIBC.fork() >= 0:
        raise PermissionError("sockets or processes can be made")


def openable(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return False
    return True


def write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def read_exactly(size: int) -> bytes:
    """Read exactly `size` bytes of stdin, unbuffered: the bytes after them belong to the program."""
    data = b""
    while len(data) < size:
        chunk = os.read(0, size - len(data))
        if not chunk:
            sys.exit(0)
        data += chunk
    return data


def module(name: str, code: str) -> tuple[types.ModuleType, Any]:
    """A new module, registered by name (for dataclasses and pickle), and its compiled code.

    Also sets the builtins that `site` would add, and the source for tracebacks and `inspect`.
    """
    for word in ("exit", "quit"):
        setattr(builtins, word, _sitebuiltins.Quitter(word, "the end of the input"))
    builtins.help = _sitebuiltins._Helper()
    made = types.ModuleType(name)
    made.__dict__.update(__file__=FILE, __builtins__=builtins)
    sys.modules[name] = made
    linecache.cache[FILE] = (len(code), None, code.splitlines(keepends=True), FILE)
    return made, compile(code, FILE, "exec", dont_inherit=True)  # without this script's `from __future__`


def call_all(job: dict[str, Any], out: int) -> None:
    """Execute the code once, then call its entry with each call's arguments."""
    made, code = module("candidate", job["code"])
    try:
        exec(code, made.__dict__)
    except SystemExit:
        if job["entry"] not in made.__dict__:
            raise
    for call in job["calls"]:
        try:
            result = made.__dict__[job["entry"]](*call["args"], **call["kwargs"])
            line = json.dumps({"value": result}, allow_nan=False)
        except BaseException as error:
            line = json.dumps({"error": f"{type(error).__name__}: {error}"[:200]})
        write(out, line.encode() + b"\n")


def main() -> None:
    config = json.loads(sys.argv[1])
    out = config["out"]
    try:
        level = confine(config)
    except (OSError, ValueError, KeyError, AttributeError) as error:  # AttributeError: the C library lacks the call
        write(out, f"refused {error}\n".encode())
        return
    write(out, f"ready {level}\n".encode())
    job = json.loads(read_exactly(struct.unpack("=Q", read_exactly(8))[0]))
    sys.argv[:] = [FILE]
    os.environ.clear()
    if job["entry"] is not None:
        return call_all(job, out)
    os.dup2(out, 1)
    made, code = module("__main__", job["code"])
    exec(code, made.__dict__)


if __name__ == "__main__":
    main()
