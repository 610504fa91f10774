"""Flows whose tasks run in processes of Ray, whose ports are on loopback and ask for a token."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys

import psutil
import pytest

from flows.refresh_labels import refresh_labels
from models.ledger.labels import labels
from tasks.setup.settings import open_ledger

pytest.importorskip("prefect_ray", reason="the extra ray is not installed")

pytestmark = pytest.mark.runners

JOIN = "import ray, sys; ray.init(sys.argv[1], logging_level='ERROR'); ray.get(ray.remote(int).remote())"


@pytest.mark.usefixtures("prefect_server")
def test_labelling_asks_everything_once_behind_a_closed_door(home, paid, monkeypatch):
    monkeypatch.setenv("FUGU_TASK_RUNNER", "ray")
    monkeypatch.setenv("FUGU_TASK_RUNNER_SIZE", "2")
    heard, refused = set(), []

    import flows.refresh_labels as module

    label = module.label_worker

    async def watched(*given):
        import ray

        if not refused:
            for process in psutil.Process().children(recursive=True):
                heard.update(c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN)
            address = ray.get_runtime_context().gcs_address
            mine = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": ""}
            command = [sys.executable, "-c", JOIN, address]
            joined = await asyncio.to_thread(subprocess.run, command, env=mine, capture_output=True, timeout=60)
            refused.append(joined.returncode)
        return await label(*given)

    monkeypatch.setattr(module, "label_worker", watched)
    asyncio.run(refresh_labels())
    assert heard and all(ip.removeprefix("::ffff:") == "127.0.0.1" for ip in heard)
    assert set(refused) == {1}
    assert stat.S_IMODE((home / "ray.token").stat().st_mode) == 0o600
    asked = paid.asked()
    assert len(asked) == len(set(asked)) and set(asked) == paid.settled()
    ledger = open_ledger()
    assert len(labels(ledger, pool="house")) == 70 * 6
    ledger.close()
