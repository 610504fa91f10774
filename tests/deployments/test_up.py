"""`fugu up` from the first start to the last, with a real Prefect server and stand-ins for flows and endpoint."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import tiny_home

from deployments.home import secret
from deployments.server import Server, credentials

pytestmark = pytest.mark.programs

HERE = Path(__file__).parent
DEPLOYMENTS = """
pull: []
deployments:
  - name: measure-learn-serve
    entrypoint: standin_flows:first_light
    work_pool: {name: gpu}
    parameters: {}
  - name: on-demand
    entrypoint: standin_flows:wait
    work_pool: {name: cpu}
    schedules: [{slug: nightly, cron: "17 3 * * *", timezone: UTC}]
"""


@dataclass
class Place:
    """A home, and what `fugu` is called with in it."""

    home: Path
    file: Path

    def command(self, *words: str) -> list[str]:
        return [sys.executable, str(HERE / "standin_up.py"), str(self.file), *words]

    def start(self, *words: str) -> subprocess.Popen[str]:
        free = ["--port", "0", "--prefect-port", "0"]
        return subprocess.Popen(
            self.command("up", *free, *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment(),
        )

    def environment(self) -> dict[str, str]:
        return tiny_home.environment(self.file.parent, self.home, HERE, COLUMNS="200", PYTHONFAULTHANDLER="1")

    def left(self) -> list[psutil.Process]:
        """Every process that was started for this home and still runs."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("FUGU_HOME") == str(self.home) and process.status() != "zombie":
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("up")
    place = Place(folder / "home", tiny_home.write(folder, DEPLOYMENTS))
    yield place
    for process in place.left():  # only where a test has failed
        process.kill()


@dataclass
class Killed:
    """The first start: what it said, the run that its kill left under way, and what outlived the kill."""

    out: str
    asked: str
    nightly: int
    idle_share: float
    orphan: str


@pytest.fixture(scope="module")
def killed(place: Place) -> Killed:
    """A first start until it serves, then a flow run on its pool, then SIGKILL."""
    process = place.start()
    out = _read_until(process, "Prefect   ")
    prefect = json.loads((place.home / "up.json").read_text())["prefect"]
    asking = place.command("ask", "What is 1 + 1?")
    asked = subprocess.run(asking, capture_output=True, text=True, env=place.environment()).stdout
    share = _cpu_share(place, "uvicorn")
    orphan = _start_waiting(place, prefect)
    scheduled = {"flow_runs": {"state": {"name": {"any_": ["Scheduled"]}}}}
    nightly = httpx.post(
        f"{prefect}/api/flow_runs/count", json=scheduled, headers=credentials(secret(place.home))
    ).json()
    process.send_signal(signal.SIGKILL)
    return Killed(out, asked, nightly, share, orphan)


def test_the_first_start_learns_on_the_pool_and_asks(place: Place, killed: Killed) -> None:
    assert "refresh labels of" in killed.out and "first-light/measure-learn-serve is done" in killed.out
    assert re.search(r"fugu was asked .* and answered '413'", killed.out)
    assert "evolved" in killed.out and "0.9" in killed.out
    assert killed.asked == "413\n"


def test_a_flow_run_has_this_python_its_home_and_an_empty_folder(place: Place, killed: Killed) -> None:
    ran = json.loads((place.home / "reports" / "run.json").read_text())
    assert ran["home"] == str(place.home) and ran["max_usd"] == 0
    assert ran["python"] == sys.executable
    assert ran["files"] == []


def test_it_says_where_prefect_is_and_what_its_page_asks_for(place: Place, killed: Killed) -> None:
    assert re.search(rf"^Prefect   http://127.0.0.1:\d+ .*{place.home}/secret", killed.out, re.MULTILINE)
    assert secret(place.home) not in killed.out


def test_the_nightly_run_stands_in_the_schedule(killed: Killed) -> None:
    assert killed.nightly > 0


def test_an_idle_prefect_server_is_idle(killed: Killed) -> None:
    assert killed.idle_share < 0.1


def test_nothing_outlives_a_killed_supervisor(place: Place, killed: Killed) -> None:
    _wait_until(lambda: not place.left(), 20)
    assert not place.left()


def test_the_next_start_ends_the_orphans_schedules_nothing_and_ends(place: Place, killed: Killed) -> None:
    database = sqlite3.connect(place.home / "prefect" / "prefect.db")
    with database:
        database.execute("update work_pool set base_job_template = json_set(base_job_template, '$.variables', '{}')")
    out, _ = (process := place.start("--once")).communicate(timeout=120)
    assert process.returncode == 0, out
    assert "1 unfinished flow runs of an earlier start were ended" in out
    assert "fugu-ultra plans nothing: the house conductor was not taught this pool" in out
    assert "nothing is missing: no learning is scheduled" in out
    assert "is scheduled: http" not in out
    assert not place.left()
    states = database.execute("select state_type from flow_run where id = ?", (killed.orphan,)).fetchall()
    assert states == [("CRASHED",)]
    pools = database.execute(
        "select json_extract(base_job_template, '$.variables.additionalProperties') from work_pool"
    )
    assert pools.fetchall() == [(0,), (0,)], "the pools' templates are not what they should be again"


def test_ctrl_c_while_it_starts_ends_all(place: Place, killed: Killed) -> None:
    (place.home / "logs" / "endpoint.log").unlink()
    process = place.start()
    _wait_until((place.home / "logs" / "endpoint.log").exists, 120, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert not place.left()
    assert not (place.home / "up.json").exists()


def _start_waiting(place: Place, prefect: str) -> str:
    """A run on the pool that would take ten minutes; its id, once it has begun."""
    started = place.home / "started"
    run = Server(prefect, secret(place.home)).start_run("wait/on-demand", {"started": str(started)})
    _wait_until(started.exists, 40)
    return run.id


def _cpu_share(place: Place, word: str) -> float:
    server = next(p for p in place.left() if word in p.cmdline() and "deployments.guard" not in p.cmdline())
    began = time.monotonic()
    before = server.cpu_times()
    server.cpu_percent(interval=3)
    after = server.cpu_times()
    return (after.user + after.system - before.user - before.system) / (time.monotonic() - began)


def _read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(text):
            return "".join(lines)
    raise AssertionError("".join(lines))


def _wait_until(reached, seconds: float, process: subprocess.Popen[str] | None = None) -> None:
    """Wait. A start that has ended, or that the time is up for, says why it never got there."""
    deadline = time.monotonic() + seconds
    while not reached():
        if process is not None and (process.poll() is not None or time.monotonic() > deadline):
            process.send_signal(signal.SIGABRT)  # `faulthandler` tells where it stands
            pytest.fail(f"ended with {process.wait()}: {process.stdout and process.stdout.read()}")
        assert time.monotonic() < deadline
        time.sleep(0.1)  # other processes are waited for, which can only be looked at
