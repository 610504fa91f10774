"""Flows whose tasks run in processes of Dask: the same results, and what is settled is not asked again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from urllib.request import urlopen

import psutil
import pytest
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from flows.evolve_router import evolve_router
from flows.refresh_labels import refresh_labels
from flows.warm_start import warm_start
from models.ledger.labels import labels
from tasks.setup.settings import open_ledger

pytest.importorskip("prefect_dask", reason="the extra dask is not installed")

pytestmark = [pytest.mark.runners, pytest.mark.usefixtures("prefect_server", "home")]


def on(runner, monkeypatch):
    monkeypatch.setenv("FUGU_TASK_RUNNER", runner)
    monkeypatch.setenv("FUGU_TASK_RUNNER_SIZE", "2")


def processes():
    """The processes of this one that run what they are sent."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if any("spawn_main" in word for word in child.cmdline())]


def test_a_killed_process_is_replaced_and_what_it_settled_is_not_asked_again(paid, monkeypatch):
    on("dask", monkeypatch)
    killed = []

    def kill():
        while len(paid.asked()) < 120:
            time.sleep(0.01)  # waiting for other processes, which say by the file how far they are
        victim = processes()[0]
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait(10)
        paid.mark()
        killed.append(victim.pid)

    threading.Thread(target=kill, daemon=True).start()
    asyncio.run(refresh_labels())
    assert killed and not paid.twice()
    ledger = open_ledger()
    assert len(labels(ledger, pool="house")) == 70 * 6
    ledger.close()
    assert not processes()


def test_an_evolution_comes_to_the_same_vector_bit_for_bit_and_asks_the_same(home, paid, monkeypatch, tmp_path):
    asyncio.run(refresh_labels())
    warm, asked, evolved = asyncio.run(warm_start()), {}, {}
    for runner in ("threads", "dask"):
        copy = shutil.copytree(home, tmp_path / runner / "home")
        monkeypatch.setenv("FUGU_HOME", str(copy))
        on(runner, monkeypatch)
        before = len(paid.asked())
        # A folder of results for each: what one has scored, the other has to score, too.
        with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / runner / "results"}):
            evolved[runner] = asyncio.run(evolve_router(warm))
        asked[runner] = paid.asked()[before:]
        assert len(set(asked[runner])) == len(asked[runner]) > 0
    assert evolved["threads"] == evolved["dask"]  # a checkpoint's id is the digest of its vector
    assert set(asked["threads"]) == set(asked["dask"])


@pytest.fixture
def cluster(tmp_path):
    """The address of a cluster of two processes that somebody else has started, with TLS as Dask documents it."""
    import dask
    from distributed.security import Security

    made = Security.temporary()
    for name, text in (("ca", made.tls_ca_file), ("cert", made.tls_client_cert), ("key", made.tls_client_key)):
        (tmp_path / name).write_text(text)
    tls = [word for name in ("ca-file", "cert", "key") for word in (f"--tls-{name}", tmp_path / name.split("-")[0])]
    place = tmp_path / "scheduler.json"
    own = {key: text for key, text in os.environ.items() if not key.startswith(("FUGU_", "PREFECT_"))}

    def start(kind, *options):
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--scheduler-file", place, "--no-dashboard"]
        quiet = subprocess.DEVNULL
        return subprocess.Popen([*command, *tls, *options], env=own, cwd=tmp_path, stdout=quiet, stderr=quiet)

    local = ("--host", "127.0.0.1", "--protocol", "tls")
    started = [
        start("scheduler", *local, "--port", "0"),
        start("worker", *local, "--nworkers", "2", "--nthreads", "8", "--worker-class", "distributed.Worker"),
    ]
    tls_at = "distributed.comm.tls"
    known = {f"{tls_at}.ca-file": str(tmp_path / "ca")}
    known |= {f"{tls_at}.client.{name}": str(tmp_path / name) for name in ("cert", "key")}
    try:
        with dask.config.set(known):
            end = time.monotonic() + 60
            while not place.is_file() or not place.read_text():
                assert time.monotonic() < end and started[0].poll() is None
                time.sleep(0.05)  # waiting for another process, which says by the file that it is there
            yield json.loads(place.read_text())["address"]
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


def test_a_cluster_that_runs_already_gets_tasks_and_settings_by_its_address(home, paid, monkeypatch, cluster):
    from distributed import Client

    on("dask", monkeypatch)
    monkeypatch.setenv("FUGU_TASK_RUNNER_ADDRESS", cluster)
    asyncio.run(refresh_labels())
    assert len(paid.settled()) == 70 * 6 and not paid.asked()  # asked by processes that do not know this one's count
    with Client(cluster, set_as_default=False) as client:  # it is still there
        assert list(client.run(os.environ.get, "FUGU_HOME").values()) == [str(home)] * 2
    ledger = open_ledger()
    assert len(labels(ledger, pool="house")) == 70 * 6
    ledger.close()


def test_its_ports_are_on_loopback_and_speak_only_with_who_has_the_certificate():
    from distributed import Client

    from tasks.setup.runner import dask_cluster

    with dask_cluster(1) as cluster:
        with Client(cluster, set_as_default=False) as client:
            assert client.submit(os.getpid).result() != os.getpid()
        listening = [
            found.laddr
            for process in (psutil.Process(), *processes())
            for found in process.net_connections("tcp")
            if found.status == psutil.CONN_LISTEN
        ]
        assert listening and {at.ip for at in listening} == {"127.0.0.1"}
        assert cluster.scheduler_address.startswith("tls://")
        for at in listening:
            with pytest.raises((OSError, ssl.SSLError), match=r"404|reset|closed|disconnected|Remote|EOF|aborted"):
                urlopen(f"http://127.0.0.1:{at.port}/info/main/workers.html", timeout=5)
        with pytest.raises((OSError, TypeError)):
            Client(cluster.scheduler_address, timeout="2s", set_as_default=False)
