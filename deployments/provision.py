"""Create or update the work pools and deployments of `prefect.yaml` on a Prefect server.

    python -m deployments.provision [FILE]

Running it again changes nothing. `fugu up` skips it if `digest` and `names` show no change.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flows
from deployments.loopback import skip_proxies
from models.files import read_yaml
from tasks.setup.settings import Settings, settings

PREFECT_FILE = Path(__file__).with_name("prefect.yaml")
POOLS = {"cpu": 4, "gpu": 1}
"""Concurrent flow runs per pool: labelling mostly waits for workers, learning fills the machine."""


def job_template(here: Settings) -> dict[str, Any]:
    """The job template of both pools. It has no variables, so a caller cannot change how a flow run is started.

    Starting this process's Python directly takes half the time of a prepared workspace. No working directory is given,
    so each run gets an empty one.
    """
    command = shlex.join([sys.executable, "-m", "prefect.engine"])
    job = {"command": command, "env": here.environment(), "working_dir": None, "stream_output": True}
    return {
        "job_configuration": {**job, "name": None, "labels": {}},
        "variables": {"type": "object", "properties": {}, "additionalProperties": False},
    }


def worker(pool: str) -> list[str]:
    """The command that starts a pool's worker, named like the pool."""
    return ["deployments.pool_worker", "worker", "start", "--pool", pool, "--type", "process", "--name", pool]


def digest(environment: Mapping[str, str], file: Path) -> str:
    """Digest of all that a deployment depends on: the file, the flows' sources and the FUGU_ variables."""
    parts = [file.read_bytes(), *(path.read_bytes() for path in sorted(Path(flows.__path__[0]).glob("*.py")))]
    parts += [f"{name}={value}".encode() for name, value in sorted(environment.items()) if name[:5] == "FUGU_"]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def record(home: Path) -> Path:
    """The file with the digest that was last applied to the home's server, beside the server's database."""
    return home / "prefect" / "deployed.sha256"


def names(file: Path) -> set[tuple[str, str]]:
    """Entrypoint and name of each deployment."""
    return {(deployment["entrypoint"], deployment["name"]) for deployment in _deployments(file)}


def main(arguments: Sequence[str] = ()) -> None:
    """Wait for the server at PREFECT_API_URL, then create the pools and apply the file."""
    file = Path(arguments[0]).resolve() if arguments else PREFECT_FILE
    skip_proxies(os.environ)
    os.environ.update(settings().environment(), FUGU_PYTHON=sys.executable)
    for deployment in _deployments(file):
        importlib.import_module(deployment["entrypoint"].split(":")[0])
    asyncio.run(_make_pools())

    from prefect.cli import app

    sys.argv[1:] = ["--no-prompt", "deploy", "--prefect-file", str(file), "--all"]
    app()


async def _make_pools() -> None:
    """Create the pools or update their template, and remove job variables that older versions set on deployments."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectAlreadyExists

    template = job_template(settings())
    async with get_client() as client:
        while await client.api_healthcheck() is not None:
            await asyncio.sleep(0.2)
        for name, limit in POOLS.items():
            pool = WorkPoolCreate(name=name, type="process", base_job_template=template, concurrency_limit=limit)
            try:
                await client.create_work_pool(pool)
            except ObjectAlreadyExists:
                await client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
        for deployment in await client.read_deployments():
            if deployment.work_pool_name in POOLS and deployment.job_variables:
                await client.update_deployment(deployment.id, DeploymentUpdate(job_variables={}))


def _deployments(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_yaml(file).value["deployments"]
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
