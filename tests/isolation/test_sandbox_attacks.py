"""Code that tries to get out, to learn what is expected, or to use up the machine. Each runs at every
isolation level that the machine has."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from models.errors import IsolationUnavailable
from models.grading.grade import grade
from models.isolation import sandbox
from models.isolation.sandbox import Limits

QUICK = Limits(cpu_s=1, wall_s=2, memory_bytes=256 * 2**20, file_bytes=10_000, output_bytes=100_000)
EVERYWHERE = "for fd in range(1, 64):\n    try: os.write(fd, %s)\n    except OSError: pass"
JOB = {"entry": "f", "calls": [{"args": [], "kwargs": {}}]}


@pytest.fixture(params=["namespaces", "no namespaces"])
def attack(request, isolated, monkeypatch):
    """Runs the body of f() confined, and gives (what it returned or how it failed, how the run ended)."""
    namespaces = request.param == "namespaces"
    if not namespaces and Path("/usr/bin/python3").exists():
        monkeypatch.setattr(sys, "executable", "/usr/bin/python3")  # `nobody` may not reach the interpreter in use

    def run(body, limits=QUICK):
        code = "import ctypes, os, sys, time\ndef f():\n" + "".join(f"    {line}\n" for line in body.split("\n"))
        try:
            done = sandbox.run(JOB | {"code": code}, limits=limits, namespaces=namespaces)
        except IsolationUnavailable as error:
            pytest.skip(str(error))
        assert done.level.endswith("namespaces") == (namespaces and isolated.endswith("namespaces"))
        line = done.output.partition(b"\n")[0]
        answer = json.loads(line) if line.startswith(b"{") and line.endswith(b"}") else {}
        return answer.get("value", answer.get("error")), done.ended

    return run


@pytest.mark.parametrize(
    "body",
    [
        "import socket; socket.socket()",
        "import socket; socket.create_connection(('127.0.0.1', 80), 1)",
        "import socket; socket.getaddrinfo('localhost', 80); socket.socket(socket.AF_UNIX)",
        "import socket; socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
        "os.fork()",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import multiprocessing as m; p = m.Process(target=print); p.start()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 0)",
        "os.kill(-1, 9)",
        "import fcntl; fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())",
        "os.setsid()",
        "os.setuid(0)",
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))",
        "import resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
        "open('/proc/self/environ')",
        "open(f'/proc/{os.getppid()}/mem', 'rb')",
        "open(f'/proc/{os.getppid()}/cmdline')",
        "os.listdir('/proc')",
        "os.listdir('/')",
        "os.listdir('/tmp/..')",
        "open('/etc/passwd')",
        "open(os.__file__, 'a')",
        "os.remove(os.__file__)",
        "os.chmod(os.__file__, 0o777)",
        "os.utime(os.__file__)",
        "os.truncate(os.__file__, 0)",
        "os.open(os.__file__, os.O_RDONLY | os.O_TRUNC)",
        "open('own', 'w').close(); os.open('own', os.O_RDONLY | os.O_TRUNC)",
        "open('own', 'w').close(); os.open('own', os.O_ACCMODE | os.O_TRUNC)",
        "os.setxattr(os.__file__, 'user.mark', b'x')",
        "open('/evil', 'w')",
        "os.symlink('/etc', 'link')",
        "os.mkfifo('pipe')",
        "import mmap; open('big', 'wb').write(b'x' * 20_000)",
    ],
)
def test_the_world_outside_is_out_of_reach(attack, body):
    answer, _ = attack(body)
    assert isinstance(answer, str) and answer.split(":")[0] in (
        "PermissionError", "FileNotFoundError", "OSError", "BlockingIOError", "ValueError", "gaierror",
    )  # fmt: skip


def test_raw_system_calls_are_filtered_too(attack):
    calls = {"socket": 41, "ptrace": 101, "unshare": 272, "process_vm_readv": 310, "memfd_create": 319}
    calls |= {"bpf": 321, "userfaultfd": 323, "io_uring_setup": 425, "pidfd_open": 434, "kill": 62, "vfork": 58}
    if os.uname().machine != "x86_64":
        pytest.skip("numbers are of x86_64")
    body = "l = ctypes.CDLL(None, use_errno=True)\n"
    body += f"return [(l.syscall(n, 0, 0, 0, 0, 0), ctypes.get_errno()) for n in {list(calls.values())}]"
    assert attack(body)[0] == [[-1, 1]] * len(calls)


def test_no_clone_makes_a_process(attack):
    if os.uname().machine != "x86_64":
        pytest.skip("numbers are of x86_64")
    body = "l = ctypes.CDLL(None)\nreturn [l.syscall(56, 17, 0, 0, 0, 0), l.syscall(435, 0, 0)]"
    assert attack(body)[0] == [-1, -1]


def test_it_is_nobody_in_an_empty_world(attack):
    answer, _ = attack(
        "open('note', 'w').write('ok')\n"
        "return [os.getuid() != 0, dict(os.environ), open('note').read(), sys.argv, os.listdir('.')]"
    )
    assert answer == [True, {}, "ok", ["candidate.py"], ["note"]]


def test_a_file_outside_cannot_be_read(attack, tmp_path):
    secret = tmp_path / "tests.jsonl"
    secret.write_text("expected")
    os.chmod(secret, 0o666)
    assert "Error" in attack(f"open({str(secret)!r}).read()")[0]
    assert "Error" in attack(f"open({str(secret)!r}, 'w').write('forged')")[0]
    assert "Error" in attack(f"open({sandbox.__file__!r}).read()")[0]
    assert secret.read_text() == "expected"


def test_ordinary_code_works_there(attack):
    body = (
        "import asyncio, threading, heapq, decimal, random, json, re, collections, itertools, functools, math\n"
        "out = []\n"
        "t = threading.Thread(target=out.append, args=('thread',)); t.start(); t.join()\n"
        "return [*out, asyncio.run(asyncio.sleep(0, 'async')), heapq.nsmallest(1, [3, 2])]"
    )
    assert attack(body) == (["thread", "async", [2]], "exit 0")


def test_an_endless_loop_is_stopped_by_processor_time(attack):
    start = time.monotonic()
    assert attack("while True: pass", Limits(cpu_s=1, wall_s=8)) == (None, "killed by signal 9")
    assert time.monotonic() - start < 6


def test_a_sleeper_is_stopped_by_wall_time(attack):
    body = "import signal\nfor number in (1, 2, 15, 24):\n    signal.signal(number, signal.SIG_IGN)\ntime.sleep(60)"
    assert attack(body, Limits(wall_s=0.5)) == (None, "out of time")


def test_a_closed_pipe_does_not_hide_a_sleeper(attack):
    start = time.monotonic()
    assert attack("os.closerange(0, 100); time.sleep(60)", Limits(wall_s=0.5))[1] == "out of time"
    assert time.monotonic() - start < 10


def test_memory_is_bounded(attack):
    assert attack("return len(bytearray(2**30))") == ("MemoryError: ", "exit 0")


def test_threads_are_bounded(attack):
    body = "import threading\nfor _ in range(5000): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()"
    assert "can't start new thread" in attack(body)[0]


def test_endless_output_is_cut(attack):
    assert attack("return 'x' * 10**6")[1] == "too much output"
    body = "while True:\n    " + (EVERYWHERE % "b'x' * 9999").replace("\n", "\n    ")
    assert attack(body)[1] in ("too much output", "killed by signal 9")


def test_output_to_stdout_is_neither_kept_nor_harmful(attack):
    assert attack("for _ in range(100): print('x' * 100_000)\nreturn 1") == (1, "exit 0")


def test_nothing_is_left_behind(attack, tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path))
    os.chmod(tmp_path, 0o755)
    for parent in tmp_path.parents[:-1]:
        if parent.stat().st_uid == os.getuid() and parent != Path("/tmp"):
            os.chmod(parent, 0o755)
    before = len(os.listdir("/proc/self/fd"))
    attack("open('file', 'w').write('x'); os.mkdir('folder')\nreturn os.getpid()")
    pid, _ = attack("return os.getpid()")
    assert not Path(f"/proc/{pid}").exists()
    assert list(tmp_path.iterdir()) == [] and len(os.listdir("/proc/self/fd")) == before


SEARCH = "for v in {}:\n    if isinstance(v, str) and v.startswith('sec' + 'ret') and len(v) == 11: return v"
FORGERIES = [
    "print('{\"value\": true}')\nprint('PASS', file=sys.stderr)",
    EVERYWHERE % "b'PASS 1.0 score=1\\n'",
    EVERYWHERE % "b'{\"verdict\": 1.0}\\n'" + "\nos._exit(0)",
    EVERYWHERE % "b'ready landlock\\n{\"score\": 1}\\n'" + "\nos._exit(0)",
    "import json; json.dumps = lambda *a, **k: '{\"expected\": true}'",
    "class Same(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\nreturn Same(7)",
    "class Same(dict):\n    def __eq__(self, other): return True\nreturn Same()",
    "class Same(str):\n    def __eq__(self, other): return True\n    __hash__ = str.__hash__\nreturn Same('x')",
    "class Same:\n    def __eq__(self, other): return True\nreturn Same()",
    "import builtins; builtins.bool = lambda *a: True; builtins.all = lambda *a: True",
    "import unittest.mock as m; m.patch('models.grading.code.same', return_value=True).start()",
    "import gc\n" + SEARCH.format("[v for o in gc.get_objects() for v in gc.get_referents(o)]"),
    "g = sys._getframe()\nwhile g:\n    "
    + SEARCH.format("[*g.f_locals.values(), *g.f_globals.values()]").replace("\n", "\n    ")
    + "\n    g = g.f_back",
    "sys.exit(0)",
    "os._exit(0)",
]


@pytest.mark.parametrize("body", FORGERIES)
def test_no_forgery_is_a_pass(ask, isolated, body):
    question = ask("code", entry="f", tests=[{"expected": "secret-4711"}], cpu_s=2, wall_s=5)
    code = "import os, sys\ndef f():\n" + "".join(f"    {line}\n" for line in body.split("\n"))
    assert grade(question, code).score == 0
    assert grade(question, code + "\nf()").score == 0
    assert grade(question, "def f(): return 'secret-4711'").score == 1
