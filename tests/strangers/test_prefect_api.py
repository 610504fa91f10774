"""Prefect's API asks for the home's secret, and lets nobody say what is run and how."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from deployments import provision, server
from deployments.home import secret_file
from tasks.setup.settings import settings

pytestmark = pytest.mark.programs


def test_the_secret_is_the_owners_alone_and_stands_in_no_log_no_database_and_no_command_line(house):
    assert secret_file(house.place).stat().st_mode & 0o777 == 0o600
    spellings = [house.secret.encode(), house.key["Authorization"].split()[1].encode()]
    for path in house.place.rglob("*"):
        if path.is_file() and path != secret_file(house.place):
            with suppress(FileNotFoundError):  # what a database needs for a moment
                assert not any(spelling in path.read_bytes() for spelling in spellings), path
    deadline = time.monotonic() + 30
    while len(mine := psutil.Process().children(recursive=True)) < 6:
        assert time.monotonic() < deadline, mine
        time.sleep(0.1)  # each guard starts its command, which says nothing to this process
    for process in mine:
        with suppress(psutil.NoSuchProcess):
            assert not any(house.secret in word for word in process.cmdline())
    assert len(mine) >= 6


def test_without_the_secret_prefect_tells_and_does_nothing(house, unharmed):
    create = f"/deployments/{house.deployment['id']}/create_flow_run"
    for key in ({}, server.credentials("wrong"), {"Authorization": f"Bearer {house.secret}"}):
        with httpx.Client(base_url=f"{house.prefect}/api", headers=key) as stranger:
            for path in ("/deployments/filter", "/flow_runs/filter", "/flow_runs/", create, "/events/filter"):
                assert stranger.post(path, json={}).status_code == 401
                assert stranger.post(path, content=b"{}").status_code == 401
            for path in ("/admin/settings", "/openapi.json", "/docs"):
                assert stranger.get(path).status_code == 401
            assert stranger.get("/health").status_code == 200


@pytest.mark.parametrize("path", ["events/out", "events/in", "logs/out", "work_pools/cpu/workers/connect"])
def test_without_the_secret_no_websocket_says_anything(house, path):
    url = f"{house.prefect.replace('http', 'ws')}/api/{path}"
    for auth in (None, {"type": "auth", "token": None}, {"type": "auth", "token": "wrong"}):
        with connect(url, subprotocols=["prefect"]) as socket:
            socket.send(json.dumps(auth or {"type": "filter", "filter": {}}))
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=10)
    with pytest.raises(InvalidStatus, match="403"), connect(url):
        pass


def test_the_secret_does_not_help_a_foreign_page_or_name(house, unharmed):
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        assert house.api.post("/deployments/filter", json={}, headers=headers).status_code == 403
        assert house.api.get("/health", headers=headers).status_code == 403
        asked = httpx.get(house.prefect, headers=headers)
        assert asked.status_code == 403 and "access-control-allow-origin" not in asked.headers
        assert httpx.post(f"{house.endpoint}/v1/chat/completions", json={}, headers=headers).status_code == 403
    assert house.api.post("/deployments/filter", json={}, headers={"Origin": house.prefect}).status_code == 200


def test_no_way_into_prefect_takes_a_command_or_leaves_parameters_unchecked(house, unharmed):
    own, named = house.deployment, {"flow_id": house.deployment["flow_id"], "name": "made"}
    run = f"/deployments/{own['id']}/create_flow_run"
    later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2999-01-01T00:00:00Z"}}
    made = house.api.post(run, json={"state": later, "parameters": {"path": str(unharmed)}}).json()["id"]
    action = {"type": "run-deployment", "source": "selected", "deployment_id": own["id"]}
    automation = {"name": "a", "trigger": {"type": "event", "posture": "Reactive", "threshold": 1, "within": 0}}

    def refused(method, path, body):
        assert house.api.request(method, path, json=body).status_code == 422, (path, body)

    for variables in ({"command": f"touch {unharmed}"}, {"env": {"STRANGE": "1"}}, {"env.STRANGE": "1"}, {"x": 1}):
        wanted = {"job_variables": variables}
        refused("POST", run, wanted)
        refused("POST", f"{run}/bulk", [{}, wanted])
        refused("POST", "/flow_runs/", {**wanted, **named, "work_pool_name": "cpu", "state": {"type": "SCHEDULED"}})
        refused("PATCH", f"/flow_runs/{made}", wanted)
        refused("POST", "/deployments/", {**wanted, **named, "work_pool_name": "cpu"})
        refused("POST", "/deployments/", {**wanted, **named})
        refused("PATCH", f"/deployments/{own['id']}", wanted)
        for place in ("actions", "actions_on_trigger", "actions_on_resolve"):
            refused("POST", "/automations/", {"actions": [], **automation, place: [{**action, **wanted}]})
    for value in (False, 0, "false", "off", "no", "f"):
        wanted = {"enforce_parameter_schema": value, "parameters": {"path": {"not": "text"}}}
        refused("POST", run, wanted)
        refused("POST", f"{run}/bulk", [wanted])
        refused("POST", "/deployments/", {**wanted, **named})
        refused("PATCH", f"/deployments/{own['id']}", wanted)
    assert house.api.post(run, json={"parameters": {"path": {"not": "text"}}}).status_code == 409
    assert (
        house.api.post(run, content=b'{"job_variables": {"a": 1}, "job_v\\u0061riables": {"a": 1}}').status_code == 422
    )
    assert house.api.delete(f"/flow_runs/{made}").status_code == 204


def test_a_run_has_what_its_pool_says_even_where_an_older_home_left_other_words(house):
    """As Prefect kept them before: a template with a place for everything, and a command in deployment and run."""
    from prefect.workers.process import ProcessWorker

    ran, harm = house.folder / "ran", house.folder / "harm"
    strange = json.dumps({"command": f"touch {harm}", "env": {"STRANGE": "1"}, "working_dir": str(house.folder)})
    path = f"/deployments/{house.deployment['id']}"
    made = house.api.post(
        f"{path}/create_flow_run", json={"parameters": {"path": str(ran)}, "state": {"type": "PAUSED"}}
    )
    template = {"base_job_template": ProcessWorker.get_default_base_job_template()}
    assert house.api.patch("/work_pools/gpu", json=template).status_code == 204
    with sqlite3.connect(house.place / "prefect" / "prefect.db", timeout=10) as database:
        database.execute("UPDATE deployment SET infra_overrides = ?", [strange])
        database.execute("UPDATE flow_run SET job_variables = ? WHERE name = ?", [strange, made.json()["name"]])
    again = {"state": {"type": "SCHEDULED"}, "force": True}
    assert house.api.post(f"/flow_runs/{made.json()['id']}/set_state", json=again).status_code == 201
    house.until(ran.exists)
    house.until(lambda: house.api.get(f"/flow_runs/{made.json()['id']}").json()["state"]["type"] == "COMPLETED")
    environment, folder = ran.read_text().split()
    assert environment == "none" and folder != str(house.folder) and not harm.exists()
    told = server.Server(house.prefect, house.secret)
    assert not told.has_pools(provision.POOLS, provision.job_template(settings()))
    house.until(house.provide())
    assert told.has_pools(provision.POOLS, provision.job_template(settings()))
    assert house.api.get(path).json()["job_variables"] == {}


def test_a_deployment_with_the_name_of_an_older_version_is_taken_over(house, monkeypatch):
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    now = house.api.get("/deployments/name/touch/on-demand").json()
    kept = {name: now[name] for name in ("flow_id", "entrypoint", "work_pool_name", "parameter_openapi_schema")}
    hourly = {"schedule": {"interval": 3600}, "active": False}
    older = {**kept, "name": "older", "paused": True, "parameters": {"path": "/mine"}, "schedules": [hourly]}
    house.api.post("/deployments/", json=older).raise_for_status()
    monkeypatch.setattr(provision, "FORMER", {now["entrypoint"]: "older"})
    ours = {PREFECT_API_URL: f"{house.prefect}/api", PREFECT_API_AUTH_STRING: house.secret}
    with temporary_settings(ours):
        for _ in range(2):  # the second time there is nothing to take over
            asyncio.run(provision._finish({"on-demand": now["entrypoint"]}, asyncio.run(provision._make_pools())))
    taken = house.api.get("/deployments/name/touch/on-demand").json()
    assert house.api.get("/deployments/name/touch/older").status_code == 404
    assert taken["id"] == now["id"] and taken["paused"] and taken["parameters"] == {"path": "/mine"}
    assert [schedule["schedule"]["interval"] for schedule in taken["schedules"]] == [3600]
    house.api.patch(f"/deployments/{now['id']}", json={"paused": False, "parameters": {}}).raise_for_status()
    house.api.delete(f"/deployments/{now['id']}/schedules/{taken['schedules'][0]['id']}").raise_for_status()


def test_prefects_own_command_line_works_on_the_running_home_alone(house, tmp_path):
    def fugu(*words):
        command = [sys.executable, "-c", "from deployments.cli import main; main()", "prefect", *words]
        bare = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return subprocess.run(command, env=bare, capture_output=True, text=True)

    listed = fugu("--", "deployment", "ls")
    assert listed.returncode == 0 and "touch/on-demand" in listed.stdout
    unknown = fugu("deployment", "run", "no/where", "--param", "a=1")
    assert unknown.returncode == 1 and "no/where" in unknown.stdout + unknown.stderr
    idle = fugu("--home", str(tmp_path), "--", "deployment", "ls")
    assert idle.returncode == 2 and idle.stderr.count("\n") == 1
    assert idle.stderr.startswith("fugu: `fugu up` is not running on")
