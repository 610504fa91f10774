"""One home in which `first_light` has run: dear to make, read by all tests of this folder."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tasks.setup.settings import open_ledger


class Finished(NamedTuple):
    """A home in which `first_light` has run once, what that returned, its workers' counter, and its ledger's URL."""

    home: Path
    lines: dict[str, str]
    counter: Path
    ledger: str


@pytest.fixture(scope="session")
def first_light_home(tmp_path_factory, small_data, use_home, prefect_server):
    """The home, which nobody changes."""
    from flows.first_light import first_light

    home = tmp_path_factory.mktemp("home")
    counter = home / "asked.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        use_home(home, small_data, patch)
        patch.setenv("FUGU_HOUSE_COUNTER", str(counter))
        lines = asyncio.run(first_light())
        ledger = open_ledger()
        ledger.close()
    return Finished(home, lines, counter, ledger.url)


@pytest.fixture
def copied_home(first_light_home, copy_ledger, tmp_path):
    """A copy of the finished home is this test's home."""
    home = tmp_path / "home"
    shutil.copytree(first_light_home.home, home)
    copy_ledger(first_light_home.ledger, home)
    return home
