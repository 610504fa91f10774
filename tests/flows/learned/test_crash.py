"""kill -9 in the middle of a flow, then again to the end: nothing that was settled is asked a second time.

The pool's worker and the Prefect server are killed in tests/deployments/test_crash_up.py.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml
from prefect.settings import PREFECT_API_URL
from sqlalchemy import select

from flows.evolve_router import evolve_router
from flows.refresh_labels import refresh_labels
from models.ledger import registry
from models.ledger.labels import labels
from models.ledger.store import Ledger
from models.ledger.tables import calls, checkpoints, generations, promotions, tries
from tasks.setup.settings import open_ledger

pytestmark = pytest.mark.programs


def run_and_kill(code: str, paid, after: int) -> None:
    """Run a flow in a process group of its own and SIGKILL the group once so many calls were paid."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        start_new_session=True,
        env=os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value()},
    )
    deadline = time.monotonic() + 120
    while len(paid.asked()) < after and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)  # waiting for another process, which says by the file how far it is
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(paid.asked()) >= after, "the flow ended before it could be killed"
    paid.mark()


def _forget_evolution() -> str:
    """Make a copy of the finished home's ledger what it was after the warm start; returns the warm checkpoint's id."""
    ledger = open_ledger()
    warm = registry.newest_checkpoint(ledger, kind="warm", pool="house")
    assert warm is not None
    with ledger.transaction() as connection:
        for table in (calls, checkpoints):
            connection.execute(table.delete().where(table.c.created_at > warm.created_at))
        connection.execute(tries.delete().where(tries.c.call_id.not_in(select(calls.c.id))))
        for table in (generations, promotions):
            connection.execute(table.delete())
    ledger.close()
    return warm.id


@pytest.mark.usefixtures("prefect_server")
def test_killed_labelling_asks_nothing_settled_again(paid, small_data, data_with, monkeypatch):
    small = yaml.safe_load((small_data / "presets.yaml").read_text())["first-light"]
    few = {"train": 12, "validation": 4, "test": 4, "unseen": 0}
    monkeypatch.setenv("FUGU_DATA", str(data_with(small | {"questions": few})))
    code = "import asyncio; from flows.refresh_labels import refresh_labels; asyncio.run(refresh_labels())"
    run_and_kill(code, paid, after=30)
    asyncio.run(refresh_labels())
    assert not paid.twice()
    ledger = open_ledger()
    assert len(labels(ledger, pool="house")) == 20 * 6
    ledger.close()


def test_killed_evolution_continues_to_the_same_vector_and_asks_nothing_settled_again(
    first_light_home, home, copy_ledger, paid
):
    copy_ledger(first_light_home.ledger, home)
    shutil.copytree(first_light_home.home / "backbones", home / "backbones")
    warm = _forget_evolution()
    code = f"import asyncio; from flows.evolve_router import evolve_router; asyncio.run(evolve_router('{warm}'))"
    run_and_kill(code, paid, after=40)
    evolved = asyncio.run(evolve_router(warm))
    assert not paid.twice()
    uninterrupted = Ledger(first_light_home.ledger)
    expected = registry.newest_checkpoint(uninterrupted, kind="evolved", pool="house")
    uninterrupted.close()
    ledger = open_ledger()
    assert expected is not None
    assert registry.load_checkpoint(ledger, evolved).id == expected.id
    ledger.close()
