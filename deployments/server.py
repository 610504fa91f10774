"""The Prefect server of a home: its environment, and a small client for the requests of `fugu up`.

Plain HTTP, so that `fugu up` starts without importing Prefect (about 2 s).
"""

from __future__ import annotations

import base64
import os
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from deployments import loopback
from deployments.home import secret
from deployments.places import databases
from models.errors import NotFound, PermanentError, UpstreamRefused, UpstreamUnavailable
from tasks.setup.settings import Settings

ORPHANED = ("PENDING", "RUNNING", "PAUSED")
"""Run states that need a live process, as CANCELLING does; when the server starts, none can be alive."""

TUNED = {
    # One transaction per event starves everything else on SQLite (measured on Prefect 3.8.8: three tasks in an async
    # flow take 1.5 s by default, 0.24 s with these); a flush interval below 1 is truncated to 0, a busy loop.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # The default is twenty events per transaction, and one per message of the persister's queue.
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # A worker's poll costs the server about 35 ms, much of it in background tasks: with one poll per second from each
    # of two pools the idle server took 7.6 % of a core, with one every 2 s 4.2 %.
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "models,tasks",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Waiting torch threads must not spin: they would take the core from the thread that they wait for.
    "OMP_WAIT_POLICY": "PASSIVE",
}


BUSY_PAUSES_S = (0.2, 0.5, 1.0, 2.0)
"""Pauses before the next try after a 503 (busy SQLite) or a timeout."""

ELSEWHERE = ("PREFECT_PROFILE", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
"""Variables for another Prefect server that the user may work with; they are not passed on."""


def environment(here: Settings, url: str) -> dict[str, str]:
    """The environment of every process of a home: the caller's variables, `TUNED`, and this home's own server.

    The caller's `PREFECT_…` variables override `TUNED`, but not the places of server and database: at startup the
    unfinished runs in this database are ended, so it must not be another server's.
    """
    prefect_home, asked_for = here.home / "prefect", secret(here.home)
    kept_s = max(3601, round(here.keep_days * 86400))
    inherited = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    held = {
        "FUGU_PYTHON": sys.executable,
        "PREFECT_HOME": str(prefect_home),
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_API_AUTH_STRING": asked_for,
        "PREFECT_API_SSL_CERT_FILE": str(loopback.one_certificate(prefect_home / "certificate.pem")),
        "PREFECT_SERVER_API_AUTH_STRING": asked_for,
        "PREFECT_UI_API_URL": "/api",
        # `deployments/doors.py` does the CORS checks; Prefect's own would allow `*` by default.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": _sqlite(prefect_home / "prefect.db"),
        **databases.variables(here),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Prefect's database keeps rows as long as the ledger keeps texts; its minimum is an hour.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(kept_s),
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"PT{kept_s}S",
        # Results of tasks without a persistence setting may be texts.
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "DO_NOT_TRACK": "1",
    }
    return {**TUNED, **inherited, **here.environment(), **held}


def _sqlite(path: Path) -> str:
    """A database's URL for any path: SQLite itself decodes the `file:` URI and its escapes."""
    return f"sqlite+aiosqlite:///file:{quote(str(path))}?uri=true"


def command(port: int) -> list[str]:
    """The command that starts the server, without the parent process that `prefect server start` keeps."""
    application = "deployments.prefect_server:create_app"
    return ["uvicorn", "--factory", application, "--host", "127.0.0.1", "--port", str(port)]


def free_port(host: str, port: int, flag: str, *, has_keys: bool = False) -> int:
    """The port itself, or a free one for 0.

    Raises PermanentError, naming port and flag, if the port is taken; BadInput for a host that is not loopback, where
    the home has no API key.
    """
    family, address = loopback.address(host, port, f"the host {host}", has_keys=has_keys)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise PermanentError(
                f"port {port} on {host} cannot be used ({error.strerror}): choose another with {flag}, 0 for a free one"
            ) from None
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Run:
    """A flow run as the server reports it."""

    id: str
    name: str
    state: str
    message: str

    @property
    def final(self) -> bool:
        return self.state in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def credentials(secret: str) -> dict[str, str]:
    """The Authorization header of Prefect's API: Basic, with the encoded secret in place of user:password."""
    return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}


class Server:
    """A client of the Prefect server. `url`: its root, where the UI is; `secret`: what its API requires."""

    def __init__(self, url: str, secret: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=f"{url}/api", headers=credentials(secret), timeout=30, trust_env=False)

    def healthy(self) -> bool:
        try:
            return self._http.get("/health", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def deployments(self) -> set[tuple[str, str]]:
        """Entrypoint and name of each deployment on the server."""
        return {(row["entrypoint"], row["name"]) for row in self._post("/deployments/filter", {})}

    def has_pools(self, names: Iterable[str], template: Mapping[str, Any]) -> bool:
        """Whether the server has all these work pools, with this job template."""
        found = {row["name"] for row in self._post("/work_pools/filter", {}) if row["base_job_template"] == template}
        return set(names) <= found

    def start_run(self, deployment: str, parameters: dict[str, Any]) -> Run:
        """Schedule the deployment `flow-name/variant` now. Raises NotFound if the server does not have it."""
        found = self._request("GET", f"/deployments/name/{deployment}")
        if found.status_code == 404:
            raise NotFound(f"the Prefect server at {self.url} has no deployment {deployment!r}")
        # With the key, a retry after a lost response creates no second run.
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}, "idempotency_key": str(uuid4())}
        return _run(self._post(f"/deployments/{found.json()['id']}/create_flow_run", body))

    def run(self, run_id: str) -> Run:
        return _run(self._request("GET", f"/flow_runs/{run_id}").json())

    def children(self, run_id: str) -> list[Run]:
        """The subflow runs of a run, in the order in which they started."""
        found = self._filter_runs({"parent_flow_run_id": {"any_": [run_id]}}, sort="START_TIME_ASC")
        return [_run(row) for row in found]

    def progress(self, run_ids: list[str]) -> dict[str, float]:
        """The newest progress artifact, in percent, of each run that has one."""
        wanted = {"type": {"any_": ["progress"]}, "flow_run_id": {"any_": run_ids}}
        rows = self._post("/artifacts/filter", {"artifacts": wanted, "sort": "CREATED_DESC"})
        return {row["flow_run_id"]: float(row["data"]) for row in reversed(rows)}

    def end_orphans(self) -> int:
        """End the runs that an earlier server left unfinished: as Crashed, or as Cancelled if they were cancelled
        or due in between. Returns their number.

        Call it before the pool workers start, when no run of this server can be alive.
        """
        due = {"before_": datetime.now(UTC).isoformat()}
        died = {"state": {"type": {"any_": list(ORPHANED)}}}
        cancelled = {"state": {"type": {"any_": ["CANCELLING"]}}}
        missed = {"state": {"type": {"any_": ["SCHEDULED"]}}, "expected_start_time": due}
        ended = "Its process ended with an earlier `fugu up`."
        return (
            self._end(cancelled, "CANCELLED", ended)
            + self._end(died, "CRASHED", ended)
            + self._end(missed, "CANCELLED", "It was due while `fugu up` was not running.")
        )

    def _end(self, wanted: dict[str, Any], kind: str, message: str) -> int:
        rows = self._filter_runs(wanted)
        for row in rows:
            body = {"state": {"type": kind, "message": message}, "force": True}
            self._post(f"/flow_runs/{row['id']}/set_state", body)
        return len(rows)

    def _filter_runs(self, wanted: dict[str, Any], sort: str = "EXPECTED_START_TIME_DESC") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._post("/flow_runs/filter", {"flow_runs": wanted, "sort": sort})
        return found

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._request("POST", path, body).json()

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """Raises UpstreamUnavailable if the server does not answer in time, UpstreamRefused for an error status."""
        unanswered: httpx.TimeoutException | None = None
        for pause in BUSY_PAUSES_S:
            try:
                reply = self._http.request(method, path, json=body)
            except httpx.TimeoutException as error:
                unanswered = error
            except httpx.TransportError as error:
                raise UpstreamUnavailable(f"the Prefect server at {self.url} does not answer: {error}") from None
            else:
                unanswered = None
                if reply.status_code != 503:
                    break
            time.sleep(pause)
        if unanswered is not None:
            raise UpstreamUnavailable(f"the Prefect server at {self.url} does not answer: {unanswered}")
        if reply.status_code >= 500:
            raise UpstreamUnavailable(f"the Prefect server at {self.url} answers {reply.status_code}")
        if reply.is_error and reply.status_code != 404:
            raise UpstreamRefused(f"the Prefect server refuses {path}: {reply.text[:500]}", reply.status_code)
        return reply


def _run(row: dict[str, Any]) -> Run:
    state = row.get("state") or {}
    return Run(row["id"], row["name"], state.get("type", ""), state.get("message") or "")
