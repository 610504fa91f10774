"""One real Prefect server and one small house for the flow tests of a process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from databases import ON_POSTGRESQL
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from sqlalchemy.engine import make_url

from deployments.server import TUNED
from tasks.setup.settings import open_ledger, settings

SMALL = {
    "questions": {"train": 24, "validation": 16, "test": 24, "unseen": 6},
    "repeats": 1,
    "backbone": {"size": "tiny", "lines": 640},
    "layout": "late",
    "evolution": {
        "population": 4,
        "generations": 2,
        "questions": 20,
        "validation": 15,
        "rank": 8,
        "subspace_generations": 1,
        "rungs": 2,
    },
}


@pytest.fixture(scope="session")
def prefect_server(prefect_database, tmp_path_factory):
    from prefect.testing.utilities import prefect_test_harness  # imports Prefect's server: not where no flow is run

    folder = tmp_path_factory.mktemp("prefect")
    shutil.copy(prefect_database, folder / "prefect-test.db")
    os.environ.update({**TUNED, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"})  # the server is a process of its own
    with (
        mock.patch("prefect.testing.utilities.mkdtemp", lambda: str(folder)),  # where the harness has its database
        prefect_test_harness(server_startup_timeout=120),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


@pytest.fixture(scope="session")
def small_data(data_with) -> Path:
    """A copy of the project's data whose preset is small."""
    return data_with(SMALL)


@pytest.fixture(scope="session")
def use_home(new_url) -> Callable[[Path, Path, pytest.MonkeyPatch], Path]:
    """Makes a folder the home of this process, with an empty ledger: (home, data, patch) -> home."""

    def use_home(home: Path, data: Path, patch: pytest.MonkeyPatch) -> Path:
        home.mkdir(parents=True, exist_ok=True)
        for name in [name for name in os.environ if name.startswith("FUGU_")]:
            patch.delenv(name)
        patch.setenv("FUGU_HOME", str(home))
        patch.setenv("FUGU_DATA", str(data))
        patch.setenv("FUGU_LEASE_S", "1")
        patch.setenv("PREFECT_LOCAL_STORAGE_PATH", str(home / "results"))
        if ON_POSTGRESQL:
            patch.setenv("FUGU_LEDGER_URL", new_url(home))
        assert settings().home == home
        ledger = open_ledger()
        ledger.create_schema()
        ledger.close()
        return home

    return use_home


@pytest.fixture
def copy_ledger(monkeypatch, request) -> Callable[[str, Path], None]:
    """`copy_ledger(url, home)`: that folder is this process's home, whose ledger is a copy of the one at the URL."""

    def copy(url: str, home: Path) -> None:
        if ON_POSTGRESQL:
            monkeypatch.setenv("FUGU_LEDGER_URL", request.getfixturevalue("postgres").database(url))
        else:
            shutil.copy(str(make_url(url).database), home / "ledger.db")
        monkeypatch.setenv("FUGU_HOME", str(home))

    return copy


@pytest.fixture
def home(tmp_path, small_data, monkeypatch, use_home) -> Path:
    """A fresh home with an empty ledger."""
    return use_home(tmp_path / "home", small_data, monkeypatch)
