"""Commands that try to get out of the workshop, to reach somebody, to stay, or to use up the machine."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from models.errors import BadInput, IsolationUnavailable
from models.isolation import seccomp, workshop
from models.isolation.workshop import Command, Room, opened
from tasks.setup.settings import PROJECT

pytestmark = pytest.mark.usefixtures("workshops")

QUICK = Room(cpu_s=5, wall_s=8, memory_bytes=256 * 2**20, address_bytes=512 * 2**20, processes=24, disk_bytes=8 * 2**20)


def work(*commands, files=None, room=QUICK, **options):
    """Runs shell or Python texts one after the other in one workshop."""
    with opened(room, **options) as shop:
        lines = [text if isinstance(text, Command) else Command(["python3", "-c", text]) for text in commands]
        return shop.work(files or {}, lines)


@pytest.mark.parametrize(
    "body",
    [
        "open('/usr/new', 'w')",
        "open('/etc/passwd', 'w')",
        "open('/proc/1/mem', 'rb')",
        "open('/proc/1/environ')",
        "open('/proc/sys/kernel/core_pattern', 'w')",
        "os.listdir('/')",
        "os.listdir('/root')",
        "os.open('/dev/mem', os.O_RDONLY)",
        "os.mknod('node', 0o600 | 0o60000, os.makedev(8, 0))",
        "os.setuid(0)",
        "os.chroot('/room')",
        "os.unshare(os.CLONE_NEWNS)" if hasattr(os, "unshare") else "raise PermissionError",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
        "socket.create_connection(('1.1.1.1', 53), 2)",
        "socket.getaddrinfo('example.org', 80)",
        "resource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999))",
        "bytearray(2**30)",
        "mmap.mmap(-1, 2**30)",
    ],
)
def test_the_world_outside_is_out_of_reach(body):
    run = work(
        f"import mmap, os, resource, socket\ntry: {body}\n"
        "except (OSError, ValueError, MemoryError) as error: print('refused', error)"
    ).runs[0]
    assert run.text.startswith("refused") and run.ended == "exit 0"


def test_raw_system_calls_are_filtered_too():
    if os.uname().machine != "x86_64":
        pytest.skip("numbers are of x86_64")
    names = {"ptrace": 101, "mount": 165, "unshare": 272, "setns": 308, "process_vm_readv": 310, "bpf": 321}
    names |= {
        "keyctl": 250,
        "io_uring_setup": 425,
        "open_tree": 428,
        "x32 getpid": 0x40000000 + 39,
        "x32 ptrace": 0x40000209,
    }
    body = "import ctypes\nl = ctypes.CDLL(None, use_errno=True)\n"
    body += f"print([(l.syscall(n, 0, 0, 0, 0, 0), ctypes.get_errno()) for n in {list(names.values())}])\n"
    body += "print(l.syscall(56, 0x10000000, 0, 0, 0, 0), l.syscall(435, 0, 0))"
    text = work(body).runs[0].text
    assert text == f"{[(-1, 1)] * len(names)}\n-1 -1\n"


def test_only_the_workshops_own_port_answers(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        other_port = other.getsockname()[1]
        with opened(QUICK, port=True) as shop:
            thread = threading.Thread(target=_answer, args=(shop.listening,))
            thread.start()
            body = (
                f"import socket\nfor port in ({workshop.PORT}, {other_port}):\n"
                "    try: print(socket.create_connection(('127.0.0.1', port), 2).recv(9))\n"
                "    except OSError as error: print('refused')"
            )
            run = shop.work({}, [Command(["python3", "-c", body])]).runs[0]
            thread.join()
    assert run.text == "b'hello'\nrefused\n"


def _answer(listening):
    with listening.accept()[0] as connection:
        connection.sendall(b"hello")


def test_without_a_port_the_loopback_is_empty():
    call = f"socket.create_connection(('127.0.0.1', {workshop.PORT}), 2)"
    body = f"import socket\ntry: {call}\nexcept OSError: print('refused')"
    assert work(body).runs[0].text == "refused\n"


def test_who_forks_forever_is_stopped_and_nothing_stays():
    bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    started = time.monotonic()
    worked = work(
        Command(["python3", "-c", bomb], wall_s=1.5),
        "print(len([p for p in __import__('os').listdir('/proc') if p.isdigit()]))",
    )
    assert time.monotonic() - started < 30
    assert worked.runs[0].ended in ("out of time", "killed by signal 9")
    assert worked.runs[1].text == "2\n"  # process 1, and who counts


def test_what_a_command_leaves_behind_does_not_see_the_next_one():
    child = "os.setsid()\n    time.sleep(1)\n    open('late', 'w')\n    time.sleep(60)"
    stay = f"import os, time\nif os.fork() == 0:\n    {child}"
    worked = work(stay, "import time; time.sleep(2)")  # longer than what was left waits: that it is gone has no event
    assert [run.ended for run in worked.runs] == ["exit 0", "exit 0"] and "late" not in worked.files
    assert worked.runs[0].seconds < 1


def test_nothing_outlives_the_program_that_opened_the_workshop(tmp_path):
    text = (
        "import sys\nfrom models.isolation.workshop import Command, opened\n"
        "with opened() as shop:\n    print(shop.level, flush=True)\n    shop.work({}, [Command(['sleep', '4711'])])"
    )
    env = os.environ | {"TMPDIR": str(tmp_path)}  # its scratch folder stays
    opener = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, cwd=PROJECT, env=env)
    opener.stdout.readline()
    deadline = time.monotonic() + 10
    while not _sleepers() and time.monotonic() < deadline:
        time.sleep(0.05)  # another process is waited for, which can only be looked at
    assert len(_sleepers()) == 1
    opener.kill()
    opener.wait()
    while _sleepers() and time.monotonic() < deadline:
        time.sleep(0.05)  # another process is waited for, which can only be looked at
    assert not _sleepers()


def _sleepers():
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cmdline").read_bytes() == b"sleep\x004711\0":
                found.append(process.name)
    return found


def test_process_1_cannot_be_killed_or_traced():
    body = "import os\ntry:\n    os.kill(1, 9); os.kill(1, 19)\nexcept OSError: pass\nprint('still here')"
    assert [run.text for run in work(body, body).runs] == ["still here\n"] * 2


def test_files_are_bounded():
    body = "open('big', 'wb').write(bytes(2**20) * 64)"
    run = work(body).runs[0]
    assert run.ended != "exit 0" and ("No space" in run.text or "too large" in run.text)
    assert work("for i in range(3000): open(str(i), 'w')").files.keys() <= {str(i) for i in range(3000)}
    few = Room(wall_s=8, disk_bytes=2**20, answer_bytes=2**16)
    assert work("open('big', 'wb').write(bytes(2**19))", room=few).runs[0].ended == "too many files"


def test_links_do_not_come_back(tmp_path):
    body = "import os\nos.symlink('/etc/passwd', 'link'); os.mkfifo('pipe'); open('file', 'w').write('x')"
    assert work(body).files == {"file": b"x"}


def test_endless_output_is_cut_in_front():
    run = work("while True: print('x' * 10**5)\n", room=Room(wall_s=1.5, output_bytes=1000)).runs[0]
    assert run.ended == "out of time" and len(run.output) <= 1000


def test_it_sees_what_it_is_given_and_not_what_is_hidden(tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "tool.py").write_text("print('tool')")
    (tmp_path / "tools" / "answers").mkdir()
    (tmp_path / "tools" / "answers" / "secret").write_text("42")
    os.chmod(tmp_path, 0o755)
    tools = tmp_path / "tools"
    body = f"import os; print(os.path.exists({str(tools / 'answers' / 'secret')!r}), os.path.exists({__file__!r}))"
    worked = work(Command(["python3", str(tools / "tool.py")]), body, reads=[tools], hides=[tools / "answers"])
    assert [run.text for run in worked.runs] == ["tool\n", "False False\n"]


def test_the_projects_data_and_home_are_never_seen():
    body = f"import os\nfor path in {[*map(str, workshop.SECRET)]}: print(os.path.isdir(path) and os.listdir(path))"
    assert {PROJECT / "data", PROJECT / ".fugu"} == {*workshop.SECRET}
    assert set(work(body, reads=[PROJECT]).runs[0].text.split()) <= {"[]", "False"}


def test_the_environment_holds_nothing_of_ours(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "hush")
    text = work("import os; print(sorted(os.environ), os.getcwd(), os.environ['HOME'])").runs[0].text
    names = ["HOME", "LANG", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "TMPDIR"]
    assert text == f"{names} /room/copy /room/home\n"


@pytest.mark.parametrize("path", ["", "/x", "../x", "a/../x", "a//b", ".", "..", "a/", "x\0"])
def test_a_path_that_leads_out_is_refused(path):
    with pytest.raises(BadInput), opened(QUICK) as shop:
        shop.work({path: b""}, [])


def test_without_isolation_nothing_runs(monkeypatch, tmp_path):
    for patch in (
        lambda: monkeypatch.setattr(seccomp.platform, "machine", lambda: "vax"),
        lambda: monkeypatch.setattr(workshop.sys, "platform", "darwin"),
        lambda: monkeypatch.setattr(workshop, "_SCRIPT", Path("/nowhere.py")),
    ):
        patch()
        with pytest.raises(IsolationUnavailable), opened(QUICK):
            pytest.fail("it opened")
        monkeypatch.undo()
