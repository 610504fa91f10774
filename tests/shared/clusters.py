"""An installed PostgreSQL, as a server of its own: with all extensions, which the one from a wheel lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("initdb", "pg_ctl", "psql")


@contextmanager
def cluster(port: int, user: str, password: str, databases: Sequence[str]) -> Iterator[None]:
    """A cluster on loopback with these databases. It refuses to run as root, so its folder is not the test's."""
    own = {"user": "postgres"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="postgres", ignore_cleanup_errors=True) as folder:
        data, secret = Path(folder) / "data", Path(folder) / "password"
        secret.write_text(password)
        for path in (Path(folder), secret) if own else ():
            shutil.chown(path, "postgres")
        plain: Mapping[str, Any] = {"check": True, "capture_output": True, "cwd": "/", **own}
        subprocess.run(["initdb", "-D", data, "-U", user, "-A", "scram-sha-256", f"--pwfile={secret}"], **plain)
        options = f"-h 127.0.0.1 -p {port} -c fsync=off -k {data}"
        # Its output goes to a file: a pipe would stay open as long as the server.
        subprocess.run(["pg_ctl", "-D", data, "-w", "-l", data / "log", "-o", options, "start"], **plain)
        try:
            for name in databases:
                words = ["psql", "-h", "127.0.0.1", "-p", str(port), "-U", user, "template1"]
                subprocess.run(
                    [*words, "-c", f"CREATE DATABASE {name}"],
                    check=True,
                    capture_output=True,
                    env={**os.environ, "PGPASSWORD": password},
                )
            yield
        finally:
            subprocess.run(["pg_ctl", "-D", data, "-m", "immediate", "stop"], **plain)
