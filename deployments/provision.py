"""Create or update the work pools and deployments of `prefect.yaml` on a Prefect server.

    python -m deployments.provision [FILE]

`fugu up` does this on its own server, and skips it if `digest` and `names` show no change. `fugu provision` does it on
a server of yours, with other types of work pools, too (`deployments/places`).
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flows
from deployments.loopback import skip_proxies
from deployments.places.templates import Place
from models.files import read_yaml
from tasks.setup.settings import Settings, settings

if TYPE_CHECKING:
    from prefect.client.schemas.responses import DeploymentResponse

PREFECT_FILE = Path(__file__).with_name("prefect.yaml")
POOLS = {"cpu": 4, "gpu": 1}
"""Concurrent flow runs per pool: labelling mostly waits for workers, learning fills the machine."""

FORMER = {
    "flows.first_light:first_light": "local",
    "flows.refresh_labels:refresh_labels": "nightly",
    "flows.warm_start:warm_start": "on-demand",
    "deployments.agentic:evolve_router": "on-demand",
    "flows.train_conductor:train_conductor": "on-demand",
    "deployments.agentic:agentic_rollouts": "on-demand",
    "flows.compare_pool:compare_pool": "on-demand",
    "flows.cross_validate:cross_validate": "on-demand",
    "flows.answer:answer": "on-demand",
    "flows.conduct:conduct": "local",
    "flows.prune:prune": "daily",
}
"""Names that an older version gave to deployments, by entrypoint: what a home still has under them is taken over."""


def job_template(here: Settings) -> dict[str, Any]:
    """The job template of both pools of `fugu up`."""
    return Place().template("cpu", here)


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


def main(arguments: Sequence[str] = (), place: Place | None = None) -> None:
    """Wait for the server at PREFECT_API_URL, then create the pools, apply the file and finish what it made. `place`:
    of pools that are there."""
    file = Path(arguments[0]).resolve() if arguments else PREFECT_FILE
    skip_proxies(os.environ)
    os.environ.update(settings().environment(), FUGU_PYTHON=sys.executable)
    for deployment in _deployments(file):
        importlib.import_module(deployment["entrypoint"].split(":")[0])
    before = asyncio.run(_make_pools() if place is None else _found())

    from prefect.cli import app

    sys.argv[1:] = ["--no-prompt", "deploy", "--prefect-file", str(file), "--all"]
    try:
        app()
    except SystemExit as end:
        if end.code:
            raise
    asyncio.run(_finish({name[1]: name[0] for name in names(file)}, before))


async def _make_pools() -> dict[tuple[str, str], DeploymentResponse]:
    """Create the pools or update their template; returns the deployments as `_found` does."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
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
    return await _found()


async def _found() -> dict[tuple[str, str], DeploymentResponse]:
    """The deployments that there are, by entrypoint and name. Job variables that older versions set are removed."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentUpdate

    async with get_client() as client:
        found = await client.read_deployments()
        for deployment in found:
            if deployment.work_pool_name in POOLS and deployment.job_variables:
                await client.update_deployment(deployment.id, DeploymentUpdate(job_variables={}))
    return {(str(deployment.entrypoint), deployment.name): deployment for deployment in found}


async def _finish(ours: Mapping[str, str], before: Mapping[tuple[str, str], DeploymentResponse]) -> None:
    """What `prefect deploy` does not do, for each deployment (`ours`: name -> entrypoint).

    Its form calls nothing "optional" that cannot be left empty. What somebody set is kept. One
    that an older version made under another name is taken over, with its pause and its other schedules, and removed.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentUpdate

    async with get_client() as client:
        for made in await client.read_deployments():
            entrypoint = str(made.entrypoint)
            if ours.get(made.name) != entrypoint:
                continue
            former = before.get((entrypoint, FORMER.get(entrypoint, "")))
            form, defaults = _form(made)
            kept = _set_by_hand(former or before.get((entrypoint, made.name)), form)
            change = DeploymentUpdate(parameter_openapi_schema=form, parameters={**defaults, **kept, **made.parameters})
            if former is not None:
                change.paused = former.paused
                own = {schedule.slug for schedule in made.schedules}
                others = [(each.schedule, each.active) for each in former.schedules if each.slug not in own]
                if others:
                    await client.create_deployment_schedules(made.id, others)
                await client.delete_deployment(former.id)
            await client.update_deployment(made.id, change)


def _form(made: DeploymentResponse) -> tuple[dict[str, Any], dict[str, Any]]:
    """The form of a deployment, and the values of what cannot be left empty: whatever has a default but "" or null.

    Prefect's form calls everything with a default "optional". What is required has to be among a run's parameters, and
    the deployment's own are, so nobody has to name them.
    """
    form = dict(made.parameter_openapi_schema or {})
    defaults = {name: default for name, default in _defaults(form).items() if default not in (None, "")}
    return form | {"required": sorted({*form.get("required", ()), *defaults})}, defaults


def _defaults(form: Mapping[str, Any]) -> dict[str, Any]:
    return {name: field.get("default") for name, field in form.get("properties", {}).items()}


def _set_by_hand(earlier: DeploymentResponse | None, form: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an earlier deployment that are no defaults, as far as the flow still has them."""
    if earlier is None:
        return {}
    defaults, known = _defaults(earlier.parameter_openapi_schema or {}), form.get("properties", {})
    return {name: value for name, value in earlier.parameters.items() if name in known and value != defaults.get(name)}


def _deployments(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_yaml(file).value["deployments"]
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
