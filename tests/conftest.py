"""What several packages of tests share: small data, and the proof that nothing settled is paid a second time."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from databases import ON_POSTGRESQL, new_url, postgres, url  # noqa: F401 - fixtures
from filelock import FileLock
from sqlalchemy import select
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from deployments.loopback import one_certificate
from models.house.provider import COUNTER, call_digest
from models.ledger.store import Ledger
from models.ledger.tables import calls
from tasks.setup.settings import PROJECT, open_ledger

# Two processes run beside each other, and others that they start. To be said before torch is imported (not above).
os.environ.setdefault("OMP_NUM_THREADS", "1")


gc.disable()  # until all tests are imported


hypothesis.settings.register_profile("whatever the machine", deadline=None)  # another process may have the core
hypothesis.settings.load_profile("whatever the machine")

# The tests and the processes that they start speak with this machine alone.
_certificates = tempfile.TemporaryDirectory()
os.environ["SSL_CERT_FILE"] = str(one_certificate(Path(_certificates.name) / "one.pem"))

SECONDS = {
    "tests/flows/learned": 120,
    "tests/flows": 90,
    "tests/strangers": 45,
    "tests/endpoint/test_observer.py": 50,
    "tests/deployments/test_first_hour.py": 45,
    "tests/conductor/learn/test_grpo.py": 35,
    "tests/endpoint/answer/test_ultra_keys.py": 30,
    "tests/deployments/local/test_serving.py": 25,
    "tests/house/test_conductor.py": 20,
    "tests/deployments/test_damaged_homes.py": 10,
    "tests/coding/test_agentic.py": 10,
    "tests/endpoint/test_annex.py": 10,
    "tests/ledger/test_crash.py": 10,
    "tests/endpoint/test_endpoint_process.py": 8,
    "tests/endpoint/test_poison.py": 6,
    "tests/endpoint/test_rollout.py": 6,
    "tests/endpoint/test_schemathesis.py": 6,
}
"""What takes long, about; the others take far less than a second a test."""


WHOLE = ("tests/flows", "tests/flows/learned", "tests/strangers")
"""Folders that stay in one process. Their servers end with the folder's last test: they would work beside all tests
that follow."""

SERVERS = ("prefect_server", "house", "browser", "pages")
"""The fixtures of a session that are such servers."""


class Sharing(LoadScopeScheduling):
    """What shares a fixture that is dear to make stays in one process: a file, and of some folders all files.

    What takes longest begins first, so that the processes end together.
    """

    _ordered = False

    def _assign_work_unit(self, node: WorkerController) -> None:
        if not self._ordered:
            self.workqueue = OrderedDict(sorted(self.workqueue.items(), key=_seconds, reverse=True))
            self._ordered = True
        super()._assign_work_unit(node)

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        folder = file.rpartition("/")[0]
        return folder if folder in WHOLE else file


def _seconds(unit: tuple[str, dict[str, bool]]) -> float:
    scope, tests = unit
    return SECONDS.get(scope, 0.2 * len(tests))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    yield
    folders = [folder for folder in WHOLE if item.nodeid.startswith(f"{folder}/")]
    after = nextitem.nodeid if nextitem else ""
    if folders and not any(after.startswith(f"{folder}/") for folder in folders):
        for name in SERVERS:
            for fixture in item.session._fixturemanager.getfixturedefs(name, item) or ():
                fixture.finish(item._request)  # type: ignore[attr-defined]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Sharing:
    """In place of `--dist`."""
    return Sharing(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items if ON_POSTGRESQL else ():
        if mark := item.get_closest_marker("sqlite"):
            item.add_marker(pytest.mark.skip(reason=f"of SQLite: {mark.args[0]}"))


def pytest_collection_finish() -> None:
    """What the imports made stays: the collector, off since this module was read, need not walk it again."""
    gc.freeze()
    gc.enable()


Call = tuple[str, str]
"""Worker and digest, as the workers' counter names a call."""


class Paid:
    """What is paid for in a home: what its workers counted, and what its ledger has settled.

    The counter is the workers' own: each call appends a line to it, on disk before the reply leaves.
    """

    def __init__(self, home: Path) -> None:
        self.counter = home / "asked.jsonl"
        self._marks: list[tuple[set[Call], int]] = []

    def asked(self) -> list[Call]:
        """Every call in the order in which it was made, each time that it was."""
        if not self.counter.exists():
            return []
        rows = [json.loads(line) for line in self.counter.read_text().splitlines()]
        return [(row["worker"], row["digest"]) for row in rows]

    def settled(self) -> set[Call]:
        """What the ledger holds a reply for."""
        ledger = open_ledger()
        with ledger.reading() as connection:
            rows = connection.execute(select(calls.c.worker, calls.c.payload).where(calls.c.status == "settled")).all()
        ledger.close()
        return {(row.worker, call_digest(row.payload["messages"], row.payload["sampling"].get("seed"))) for row in rows}

    def mark(self) -> None:
        """To be called after a kill: what is settled now must not be asked from now on."""
        settled, asked = self.settled(), self.asked()
        assert settled & set(asked), "nothing of what was asked is settled"
        self._marks.append((settled, len(asked)))

    def twice(self) -> set[Call]:
        """The calls that were settled at a mark and asked after it."""
        asked = self.asked()
        return {call for settled, before in self._marks for call in asked[before:] if call in settled}


@pytest.fixture
def paid(home: Path, monkeypatch: pytest.MonkeyPatch) -> Paid:
    """What is paid in the test's own `home`."""
    paid = Paid(home)
    monkeypatch.setenv(COUNTER, str(paid.counter))
    return paid


@pytest.fixture
def ledger(url: str, tmp_path: Path) -> Iterator[Ledger]:  # noqa: F811 - the fixture
    """An empty ledger of the test's own."""
    ledger = Ledger(url, unsettled=tmp_path / "unsettled")
    ledger.create_schema()
    yield ledger
    ledger.close()


@pytest.fixture(scope="session")
def data_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], Path]:
    """Makes a copy of the project's data whose preset `first-light` is the one that is given."""

    def make(preset: dict[str, Any]) -> Path:
        data = tmp_path_factory.mktemp("data")
        shutil.copytree(PROJECT / "data" / "pools", data / "pools")
        (data / "presets.yaml").write_text(yaml.safe_dump({"first-light": preset}))
        return data

    return make


MAKE_PREFECTS_TABLES = """
import asyncio
from prefect.server.database import provide_database_interface
asyncio.run(provide_database_interface().create_db())
"""


@pytest.fixture(scope="session")
def prefect_database() -> Path:
    """A database as this version of Prefect's server makes it at its first start, in 7 s; to be copied. All processes
    and later runs share it."""
    folder = PROJECT / ".pytest_cache" / "prefect"
    folder.mkdir(parents=True, exist_ok=True)
    file, begun = folder / f"{metadata.version('prefect')}.db", folder / "begun.db"
    with FileLock(folder / "prefect.lock"):
        if not file.exists():
            begun.unlink(missing_ok=True)
            mine = {
                "PREFECT_HOME": str(folder),
                "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{begun}",
            }
            others = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
            subprocess.run([sys.executable, "-c", MAKE_PREFECTS_TABLES], env=others | mine, check=True)
            begun.rename(file)
    return file


@pytest.fixture(scope="session")
def workshops() -> str:
    """The isolation level that commands get on this machine; without one they are refused."""
    from models.errors import IsolationUnavailable
    from models.isolation.workshop import isolation

    try:
        return isolation()
    except IsolationUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def readable() -> Iterator[None]:
    """What a test lays out is read by another user, in a process that made its own files private, too."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def ask() -> Callable[..., Any]:
    """A question with the given grader, reference and options."""

    def make(grader: str, reference: Any = None, **options: Any) -> Any:
        from models.grading.question import Question

        messages = ({"role": "user", "content": "?"},)
        return Question(id="q", task="t", messages=messages, grader=grader, reference=reference, options=options)

    return make


@pytest.fixture(scope="session")
def isolated() -> str:
    """The isolation level of this machine; without one the graders refuse, and there is nothing to test."""
    from models.errors import IsolationUnavailable
    from models.isolation.sandbox import isolation

    try:
        return isolation()
    except IsolationUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def until() -> Callable[..., None]:
    """Waits for what another process or thread does, which can only be asked."""

    def until(reached: Callable[[], Any], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    return until
