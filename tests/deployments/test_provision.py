"""`fugu provision` on a real Prefect server: what it makes, that a second run changes nothing, and what it refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from deployments import provision, server
from deployments.home import secret
from deployments.places.applying import VARIABLE
from deployments.services import Services
from flows.refresh_labels import MEASURED
from tasks.pages.drift import FELL
from tasks.setup.settings import settings

pytestmark = pytest.mark.programs

FUGU = [sys.executable, "-c", "from deployments.cli import main; main()"]
RESOURCE = {"prefect.resource.id": "fugu.worker.calc"}
AUTOMATION = "fugu: flow runs without a heartbeat are crashed"


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[SimpleNamespace]:
    """A server of its own, the environment of its clients, and `fugu` in it."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("FUGU_", "PREFECT_"))]:
            patch.delenv(name)
        patch.setenv("FUGU_HOME", str(home))
        port = server.free_port("127.0.0.1", 0, "--prefect-port")
        environment = server.environment(settings(), f"http://127.0.0.1:{port}")
        key = server.credentials(secret(home))
    (home / "prefect").mkdir(exist_ok=True)
    shutil.copy(prefect_database, home / "prefect" / "prefect.db")

    def fugu(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*FUGU, *words], env=environment, capture_output=True, text=True, timeout=240, cwd=home, check=False
        )

    with Services(home) as services:
        services.start("prefect-server", server.command(port), environment)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api", headers=key, timeout=30) as api:
            yield SimpleNamespace(fugu=fugu, api=api, environment=environment, home=home)


@pytest.fixture(scope="module")
def first(prefect: SimpleNamespace) -> subprocess.CompletedProcess[str]:
    """The first run on that server."""
    done = prefect.fugu("provision", "--seat")
    assert done.returncode == 0, done.stderr
    return done


def state(api: httpx.Client) -> dict[str, Any]:
    """What there is, without the times at which the server or a worker looked at it."""

    def of(path: str, *fields: str) -> list[dict[str, Any]]:
        found = api.post(path, json={}).raise_for_status().json()
        return sorted(({name: each[name] for name in fields} for each in found), key=str)

    return {
        "pools": of("/work_pools/filter", "id", "name", "type", "base_job_template", "concurrency_limit"),
        "deployments": of("/deployments/filter", "id", "name", "updated", "parameters", "parameter_openapi_schema"),
        "automations": of("/automations/filter", "id", "name", "updated", "enabled", "trigger", "actions"),
        "variables": of("/variables/filter", "id", "name", "value", "updated"),
    }


def test_a_second_run_changes_nothing_and_says_so(prefect: SimpleNamespace, first) -> None:
    count = len(provision.names(provision.PREFECT_FILE))
    for line in (
        "work pool cpu created: process, at most 4 runs at a time",
        "work pool gpu created: process, at most 1 runs at a time",
        f"automation '{AUTOMATION}' created",
        f"{count} deployments of prefect.yaml applied",
        "nothing was measured: worker ",
    ):
        assert line in first.stdout
    assert first.stdout.count("\n") == 5  # and nothing of what `prefect deploy` says
    before = state(prefect.api)
    assert {pool["name"] for pool in before["pools"]} == set(provision.POOLS)
    assert len(before["deployments"]) == count and [each["name"] for each in before["variables"]] == [VARIABLE]
    automation = next(each for each in before["automations"] if each["name"] == AUTOMATION)
    assert len(before["automations"]) == 4
    trigger, (action,) = automation["trigger"], automation["actions"]
    assert trigger["posture"] == "Proactive" and trigger["within"] == 3 * 180
    assert trigger["after"] == ["prefect.flow-run.heartbeat"] and trigger["for_each"] == ["prefect.resource.id"]
    assert (action["type"], action["state"]) == ("change-flow-run-state", "CRASHED")
    again = prefect.fugu("provision", "--seat")
    assert (again.returncode, again.stdout) == (0, "nothing to change\n"), again.stderr
    assert state(prefect.api) == before


def test_what_somebody_set_stays_and_what_differs_is_brought_up_to_date(prefect: SimpleNamespace, first) -> None:
    before = state(prefect.api)
    prefect.api.patch("/work_pools/cpu", json={"concurrency_limit": 9}).raise_for_status()
    pool = prefect.api.get("/work_pools/gpu").json()["base_job_template"]
    pool["job_configuration"]["command"] = "echo"
    prefect.api.patch("/work_pools/gpu", json={"base_job_template": pool}).raise_for_status()
    id = next(each["id"] for each in before["automations"] if each["name"] == AUTOMATION)
    prefect.api.patch(f"/automations/{id}", json={"enabled": False}).raise_for_status()
    done = prefect.fugu("provision")
    assert (done.returncode, done.stdout) == (0, "work pool gpu: its job template updated\n"), done.stderr
    after = state(prefect.api)
    limits = {pool["name"]: pool["concurrency_limit"] for pool in after["pools"]}
    assert limits == {"cpu": 9, "gpu": 1}
    assert {each["name"]: each["enabled"] for each in after["automations"]}[AUTOMATION] is False
    templates = [{pool["name"]: pool["base_job_template"] for pool in each["pools"]} for each in (before, after)]
    assert templates[0] == templates[1] and after["deployments"] == before["deployments"]


def test_a_worker_that_fell_is_measured_anew_by_the_other_automation(prefect: SimpleNamespace, first, until) -> None:
    emit = f"from prefect.events import emit_event\nemit_event({FELL!r}, {RESOURCE!r}, payload={{'worker': 'calc'}})"
    subprocess.run([sys.executable, "-c", emit], env=prefect.environment, check=True, timeout=60)

    def begun() -> list[dict[str, Any]]:
        runs = prefect.api.post("/flow_runs/filter", json={}).raise_for_status().json()
        return [run for run in runs if run["parameters"].get("again") == "calc"]

    until(begun, 60)
    assert len(begun()) == 1 and begun()[0]["parameters"]["max_age_days"] == 30


def test_labels_lead_to_a_router_and_a_router_to_the_gate(prefect: SimpleNamespace, first, until) -> None:
    def runs_of(deployment: str) -> list[dict[str, Any]]:
        id = deployments[deployment]
        wanted = {"deployments": {"id": {"any_": [id]}}}
        found: list[dict[str, Any]] = prefect.api.post("/flow_runs/filter", json=wanted).raise_for_status().json()
        return found

    found = prefect.api.post("/deployments/filter", json={}).json()
    deployments = {each["name"]: each["id"] for each in found}
    emit = f"from prefect.events import emit_event\nemit_event({MEASURED!r}, {{'prefect.resource.id': 'fugu.pool.x'}})"
    subprocess.run([sys.executable, "-c", emit], env=prefect.environment, check=True, timeout=60)
    until(lambda: runs_of("learn-router"), 60)
    assert runs_of("compare-routers") == []
    [learned] = runs_of("learn-router")
    for state_ in ("RUNNING", "COMPLETED"):
        done = {"state": {"type": state_}, "force": True}
        prefect.api.post(f"/flow_runs/{learned['id']}/set_state", json=done).raise_for_status()
    until(lambda: runs_of("compare-routers"), 60)
    [judged] = runs_of("compare-routers")
    assert judged["parameters"]["promote"] is True and judged["parameters"]["pool"] == learned["parameters"]["pool"]


def test_a_pool_gets_another_type_once_it_is_removed(prefect: SimpleNamespace, first) -> None:
    refused = prefect.fugu("provision", "--type", "docker")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "the work pool cpu is of type process, not docker: remove it first" in refused.stderr
    for name in provision.POOLS:
        prefect.api.delete(f"/work_pools/{name}").raise_for_status()
    done = prefect.fugu("provision", "--type", "docker")
    assert "work pool gpu created: docker, at most 1 runs" in done.stdout, done.stderr
    found = prefect.api.post("/deployments/filter", json={}).json()
    assert {each["work_pool_name"] for each in found} == set(provision.POOLS)


def test_without_a_server_it_is_one_line(prefect: SimpleNamespace, run, monkeypatch) -> None:
    monkeypatch.setenv("FUGU_HOME", str(prefect.home))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    status, _, err = run("provision")
    assert status == 2 and "PREFECT_API_URL is empty" in err


def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(prefect: SimpleNamespace) -> None:
    environment = prefect.environment | {"PREFECT_API_URL": "http://127.0.0.1:1/api"}
    words = [*FUGU, "provision", "--patience", "0"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, cwd=prefect.home)
    assert done.returncode == 2 and "the Prefect server at http://127.0.0.1:1/api/ does not answer" in done.stderr
