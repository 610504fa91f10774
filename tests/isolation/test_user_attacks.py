"""Commands opened by an ordinary user, whom the files that they may read belong to: none of these may change."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import models

USER = 12345
AS_USER = {"user": USER, "group": USER, "extra_groups": []} if os.getuid() == 0 else {}

ATTACKS = [
    "os.chmod(tool, 0o4777)",
    "os.chmod(tool, 0)",
    "os.chmod(os.open(tool, os.O_RDONLY), 0o666)",
    "os.chmod(folder, 0o777)",
    "os.chown(tool, os.getuid(), os.getgid())",
    "os.utime(tool, (1, 1))",
    "os.truncate(tool, 1)",
    "os.open(tool, os.O_RDONLY | os.O_TRUNC)",
    "open(tool, 'a')",
    "os.setxattr(tool, 'user.mark', b'x')",
    "os.link(tool, tool + '2')",
    "os.rename(tool, tool + '2')",
    "os.remove(tool)",
]
OPENER = """
import sys
from pathlib import Path
from models.isolation.workshop import Command, opened

with opened(reads=[Path(sys.argv[1])]) as shop:
    print(shop.work({}, [Command(["python3", "-c", sys.argv[2], sys.argv[1]])]).runs[0].text, end="")
"""
WITHOUT_MOUNT_SETATTR = """
import errno
from models.errors import IsolationUnavailable
from models.isolation import confine, sandbox, seccomp, workshop

confine.checked(confine.LIBC.prctl(confine.NO_NEW_PRIVS, 1, 0, 0, 0))
refused = seccomp._return(seccomp._ERRNO | errno.ENOSYS)
confine.seccomp(seccomp._step(seccomp._LOAD, 0) + seccomp._unless(442, refused) + seccomp._return(seccomp._ALLOW))
try:
    print(workshop.isolation())
except IsolationUnavailable as error:
    print(error)
done = sandbox.run({"code": "import os; print([*os.walk('.')])", "entry": None, "calls": []})
print(done.level, done.output.decode(), end="")
"""
MOUNTING = """
import ctypes
libc = ctypes.CDLL(None)
raise SystemExit(libc.unshare(0x10020000) or libc.mount(b"none", b"/", None, 0x44000, None))  # user and mount namespace
"""


@pytest.fixture(scope="module")
def python():
    """An interpreter that the user can start: root's own may lie in root's home."""
    for path in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            subprocess.run([path, "-c", "import datetime; datetime.UTC"], check=True, capture_output=True, **AS_USER)
        except (OSError, subprocess.CalledProcessError):
            continue
        if subprocess.run([path, "-c", MOUNTING], **AS_USER).returncode:
            pytest.skip("no user namespaces for an ordinary user")
        return path
    pytest.skip("no interpreter (3.11) that an ordinary user can start")


@pytest.fixture
def folder():
    """A folder of the user's, with a copy of the sandbox: pytest's are root's, and the project may be."""
    with tempfile.TemporaryDirectory(prefix="fugu-user-") as name:
        project = Path(name)
        source = Path(models.__file__).parent
        shutil.copytree(source / "isolation", project / "models" / "isolation")
        for file in ("__init__.py", "errors.py"):
            shutil.copy(source / file, project / "models")
        for part in ("tools", "data"):
            (project / part).mkdir()
            (project / part / "tool").write_text("print('tool')\n")
        if AS_USER:
            for path in (project, *project.rglob("*")):
                os.chown(path, USER, USER)
        yield project


def run(python, folder, text, *arguments):
    line, env = [python, "-B", "-c", text, *map(str, arguments)], {"PYTHONPATH": str(folder)}
    done = subprocess.run(line, check=True, capture_output=True, text=True, cwd=folder, env=env, timeout=60, **AS_USER)
    return done.stdout


def state(path):
    """All of a file that somebody could change; the kernel alone sets the time of the last change of any of it."""
    of = path.stat()
    return of.st_mode, of.st_uid, of.st_nlink, of.st_size, of.st_mtime_ns, of.st_ctime_ns, os.listxattr(path)


def test_files_that_are_read_cannot_be_changed_by_whom_they_belong_to(python, folder):
    tool = folder / "tools" / "tool"
    run(python, folder, "import os, sys; os.chmod(sys.argv[1], 0o644)", tool)  # it is theirs
    before = state(tool), state(tool.parent)
    body = "import errno, os, sys\nfolder = sys.argv[1]\ntool = folder + '/tool'\nexec(open(tool).read())\n"
    for attack in ATTACKS:
        body += f"try: {attack}; print({attack!r})\nexcept OSError as error: print(errno.errorcode[error.errno])\n"
    assert run(python, folder, OPENER, tool.parent, body) == "tool\n" + "EROFS\n" * len(ATTACKS)
    assert (state(tool), state(tool.parent)) == before
    assert tool.read_text() == "print('tool')\n" and os.listdir(tool.parent) == ["tool"]


def test_the_projects_data_are_hidden_where_the_project_is_read(python, folder):
    body = "import os, sys\nprint([os.listdir(sys.argv[1] + part) for part in ('/tools', '/data')])"
    assert run(python, folder, OPENER, folder, body) == "[['tool'], []]\n"


def test_where_files_cannot_be_made_read_only_nothing_is_bound(python, folder):
    workshop, sandbox = run(python, folder, WITHOUT_MOUNT_SETATTR).splitlines()
    assert workshop.startswith("commands cannot be run in isolation here") and "no read-only mount" in workshop
    assert sandbox == "landlock+seccomp [('.', [], [])]"
