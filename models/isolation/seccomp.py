"""Seccomp filters: the system calls that sandboxed code and workshop commands may make.

For code, an allow-list: every other call fails with EPERM. Not on it, and so impossible: new processes (fork, clone
without CLONE_THREAD, execve), sockets (except a connected local pair, which asyncio needs), signals to other processes,
and changes of session, namespaces, mounts, tracing. Numbers are from the kernel's unistd tables; the encoding from
linux/filter.h and linux/seccomp.h.

For commands (a coding agent, a test suite), a deny-list: they may start processes and open sockets in their own network
namespace, but not change namespaces, mounts or the machine, trace, or use rarely audited parts of the kernel. It denies
about what Docker's default profile denies.
"""

from __future__ import annotations

import errno
import platform
import struct

from models.errors import IsolationUnavailable

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column below, AUDIT_ARCH_*

# name: (x86_64, aarch64); None where the machine has no such call
_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    # files; Landlock restricts which
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67),
    "pwrite64": (18, 68), "close": (3, 57), "close_range": (436, 436), "lseek": (8, 62),
    "stat": (4, None), "lstat": (6, None), "fstat": (5, 80), "newfstatat": (262, 79),
    "statx": (332, 291), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "readlink": (89, None), "readlinkat": (267, 78), "getdents64": (217, 61), "getcwd": (79, 17),
    "chdir": (80, 49), "mkdir": (83, None), "mkdirat": (258, 34), "unlink": (87, None), "unlinkat": (263, 35),
    "rmdir": (84, None), "rename": (82, None), "renameat": (264, 38), "ftruncate": (77, 46),
    "fsync": (74, 82), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "pipe": (22, None), "pipe2": (293, 59),
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22),
    "eventfd2": (290, 19), "umask": (95, 166), "sendto": (44, 206), "recvfrom": (45, 207),
    # memory and threads
    "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226), "mremap": (25, 216), "madvise": (28, 233),
    "brk": (12, 214), "membarrier": (324, 283), "futex": (202, 98), "set_robust_list": (273, 99),
    "rseq": (334, 293), "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "exit": (60, 93),
    "exit_group": (231, 94), "restart_syscall": (219, 128),
    # its own signals
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "setitimer": (38, 103), "getitimer": (36, 102), "alarm": (37, None), "pause": (34, None),
    # identity and time
    "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174),
    "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getpgrp": (111, None),
    "getrlimit": (97, 163), "getrusage": (98, 165), "times": (100, 153), "sysinfo": (99, 179),
    "uname": (63, 160), "getrandom": (318, 278), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "nanosleep": (35, 101), "gettimeofday": (96, 169), "time": (201, None),
    "wait4": (61, 260),
}  # fmt: skip

# O_TRUNC with O_RDONLY would empty a file, which Landlock does not restrict before its version 3.
_HOW = (0x203, (0, 1, 2, 0x201, 0x202))  # O_TRUNC | O_ACCMODE

# (numbers, conditions): allowed if for every (argument, mask, values) the masked argument is one of the values
_CONDITIONAL: tuple[tuple[tuple[int, int | None], tuple[tuple[int, int, tuple[int, ...]], ...]], ...] = (
    ((2, None), ((1, *_HOW),)),  # open
    ((257, 56), ((2, *_HOW),)),  # openat
    ((56, 220), ((0, 0x10000, (0x10000,)),)),  # clone: threads only (CLONE_THREAD)
    ((53, 199), ((0, 0xFF, (1,)), (1, 0xF, (1,)))),  # socketpair: AF_UNIX, SOCK_STREAM
    ((72, 25), ((1, 0xFFFFFFFF, (0, 1, 2, 3, 4, 5, 6, 7, 1030)),)),  # fcntl: nothing that sends signals
    (
        (16, 29),
        ((1, 0xFFFFFFFF, (0x5401, 0x5413, 0x5421, 0x5450, 0x5451)),),
    ),  # ioctl: isatty, blocking, cloexec
    ((302, 261), ((0, 0xFFFFFFFF, (0,)),)),  # prlimit64: its own limits
)
_DENIED: tuple[tuple[int | None, int | None], ...] = (
    (101, 117), (103, 116), (135, 92), (139, None), (153, 58), (155, 41), (163, 89), (164, 170),  # ptrace, settime
    (165, 40), (166, 39), (167, 224), (168, 225), (169, 142), (170, 161), (171, 162),  # mount … setdomainname
    (172, None), (173, None), (175, 105), (176, 106), (179, 60), (180, 42), (212, 18),  # iopl, modules, quotactl
    (227, 112), (237, 235), (238, 237), (239, 236), (246, 104), (248, 217), (249, 218), (250, 219),  # clocks … keyctl
    (256, 238), (272, 97), (279, 239), (298, 241), (300, 262), (303, 264), (304, 265), (305, 266),  # unshare, perf, …
    (308, 268), (310, 270), (311, 271), (312, 272), (313, 273), (320, 294), (321, 280), (323, 282),  # setns, bpf, …
    (425, 425), (426, 426), (427, 427), (428, 428), (429, 429), (430, 430), (431, 431), (432, 432),  # io_uring, mounts
    (433, 433), (438, 438), (440, 440), (442, 442), (443, 443),
)  # fmt: skip
_DENIED_UNLESS: tuple[tuple[tuple[int, int], tuple[tuple[int, int, tuple[int, ...]], ...]], ...] = (
    ((56, 220), ((0, 0x7E020000, (0,)),)),  # clone: no new namespace
    ((41, 198), ((0, 0xFFFFFFFF, (1, 2, 10, 16)),)),  # socket: AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
)
_X32 = 0x40000000  # the bit of the x32 calling convention of x86_64, which has other numbers
_CLONE3 = 435  # its flags are behind a pointer, which a filter cannot read; on ENOSYS glibc falls back to clone

_LOAD, _AND, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _return(action: int) -> bytes:
    return _step(_RETURN, action)


def _unless(value: int, body: bytes) -> bytes:
    """Instructions that run `body` only if the loaded word is `value`."""
    return _step(_JUMP_IF_EQUAL, value, no=len(body) // 8) + body


def _conditions(conditions: tuple[tuple[int, int, tuple[int, ...]], ...]) -> bytes:
    if not conditions:
        return _return(_ALLOW)
    (argument, mask, values), rest = conditions[0], _conditions(conditions[1:])
    load = _step(_LOAD, 16 + 8 * argument) + _step(_AND, mask)  # seccomp_data.args, low word
    return load + b"".join(_unless(value, rest) for value in values) + _return(_ERRNO | errno.EPERM)


def program() -> bytes:
    """The filter for code: an array of `struct sock_filter`. Raises IsolationUnavailable on an unknown architecture."""
    column, parts = _opening()
    for numbers in _ALLOWED.values():
        number = numbers[column]
        if number is not None:
            parts.append(_unless(number, _return(_ALLOW)))
    for numbers, conditions in _CONDITIONAL:
        if (number := numbers[column]) is not None:
            parts.append(_unless(number, _conditions(conditions)))
    return b"".join(parts) + _return(_ERRNO | errno.EPERM)


def program_for_commands() -> bytes:
    """The filter for commands, in the same form. Raises IsolationUnavailable on an unknown architecture."""
    column, parts = _opening()
    parts.append(_step(_JUMP_IF_AT_LEAST, _X32, no=1) + _return(_ERRNO | errno.EPERM))
    parts += [_unless(number, _return(_ERRNO | errno.EPERM)) for row in _DENIED if (number := row[column]) is not None]
    parts += [_unless(numbers[column], _conditions(conditions)) for numbers, conditions in _DENIED_UNLESS]
    return b"".join(parts) + _return(_ALLOW)


def _opening() -> tuple[int, list[bytes]]:
    """This architecture's column of the tables, and the start of every filter, which loads the call's number last."""
    if platform.machine() not in _MACHINES:
        raise IsolationUnavailable(f"no system call filter for {platform.machine()}")
    column, architecture = _MACHINES[platform.machine()]
    return column, [
        _step(_LOAD, 4) + _step(_JUMP_IF_EQUAL, architecture, yes=1) + _return(_KILL),  # seccomp_data.arch
        _step(_LOAD, 0),  # seccomp_data.nr
        _unless(_CLONE3, _return(_ERRNO | errno.ENOSYS)),
    ]
