"""Flows whose tasks run in processes of Ray, whose ports are on loopback and ask for a token."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys

import psutil
import pytest
from prefect.settings import get_current_settings

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


CLUSTER = (
    "import ray, sys; ray.init(num_cpus=2, include_dashboard=False, object_store_memory=10**8);"
    "print(ray.get_runtime_context().gcs_address, flush=True); sys.stdin.read()"
)
LABEL = "import asyncio; from flows.refresh_labels import refresh_labels; asyncio.run(refresh_labels())"


@pytest.mark.usefixtures("prefect_server", "home")
def test_a_cluster_that_runs_already_gets_tasks_and_settings_by_its_address(paid, tmp_path):
    """Ray reads its security settings when it is imported: cluster and flow are programs of their own."""
    ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_USAGE_STATS_ENABLED": "0"}
    ray["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on loopback
    own = {key: text for key, text in os.environ.items() if not key.startswith(("FUGU_", "PREFECT_", "RAY_"))} | ray
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER], env=own, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as cluster:
        address = cluster.stdout.readline().strip()
        flow = os.environ | get_current_settings().to_environment_variables(exclude_unset=True) | ray
        flow |= {"FUGU_TASK_RUNNER": "ray", "FUGU_TASK_RUNNER_ADDRESS": address}
        subprocess.run([sys.executable, "-c", LABEL], env=flow, check=True, timeout=120)
        assert cluster.poll() is None  # it is still there
        cluster.stdin.close()
    assert len(paid.settled()) == 70 * 6 and not paid.asked()  # asked by processes that do not know this one's count
    ledger = open_ledger()
    assert len(labels(ledger, pool="house")) == 70 * 6
    ledger.close()
