"""What `fugu provision` does on a Prefect server: work pools, deployments, an automation. Again, it changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployments import provision
from deployments.places.templates import Place
from models.digest import json_digest
from models.errors import BadInput, NotReady
from models.workers.pool import Pool
from tasks.setup.settings import pool_path, settings

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

VARIABLE = "fugu_provisioned"
"""Prefect's variable with the digest of what was applied last: the file, the flows' sources, the settings."""


def apply(place: Place, file: Path = provision.PREFECT_FILE, patience_s: float = 60.0) -> list[str]:
    """Make what is missing and bring up to date what differs; returns a line for each change.

    Raises BadInput without PREFECT_API_URL and for a work pool of another type, NotReady if the server does not answer.
    """
    if not os.environ.get("PREFECT_API_URL"):
        raise BadInput("PREFECT_API_URL is empty: it names the Prefect server to provision (`fugu up` has its own)")
    done = asyncio.run(_pools_and_automation(place, patience_s))
    digest = provision.digest(settings().environment(), file)
    if asyncio.run(_is_applied(digest, file)):
        return done
    _deploy(file, place)
    asyncio.run(_remember(digest))
    return [*done, f"{len(provision.names(file))} deployments of {file.name} applied"]


def _deploy(file: Path, place: Place) -> None:
    """What `prefect deploy` says of each deployment is shown only where it fails: it names Prefect's own worker."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            provision.main([str(file)], place)
    except BaseException:
        sys.stderr.write(said.getvalue())
        raise


async def _pools_and_automation(place: Place, patience_s: float) -> list[str]:
    from prefect.client.orchestration import get_client

    from deployments.places import zombies

    here, workers = settings(), Pool.load(pool_path())
    async with get_client() as client:
        await _answers(client, patience_s)
        done = []
        for name, limit in provision.POOLS.items():
            done.append(await _pool(client, name, limit, place, place.template(name, here, workers)))
        done.append(await zombies.apply(client))
    return [line for line in done if line is not None]


async def _answers(client: PrefectClient, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while (problem := await client.api_healthcheck()) is not None:
        if time.monotonic() > deadline:
            raise NotReady(
                f"the Prefect server at {client.api_url} does not answer: {type(problem).__name__}: {problem}"
            )
        await asyncio.sleep(0.5)


async def _pool(client: PrefectClient, name: str, limit: int, place: Place, template: dict[str, Any]) -> str | None:
    """Make a work pool, or bring its template up to date. A limit of concurrent runs that somebody set stays."""
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    try:
        found = await client.read_work_pool(name)
    except ObjectNotFound:
        await client.create_work_pool(
            WorkPoolCreate(name=name, type=place.type, base_job_template=template, concurrency_limit=limit)
        )
        return f"work pool {name} created: {place.type}, at most {limit} runs at a time"
    if found.type != place.type:
        raise BadInput(
            f"the work pool {name} is of type {found.type}, not {place.type}: remove it first "
            f"(`prefect work-pool delete {name}`), which removes its queued runs"
        )
    if json_digest(json.loads(json.dumps(found.base_job_template))) == json_digest(template):
        return None
    await client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
    return f"work pool {name}: its job template updated"


async def _is_applied(digest: str, file: Path) -> bool:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        variable = await client.read_variable_by_name(VARIABLE)
        made = {(str(each.entrypoint), each.name): each.work_pool_name for each in await client.read_deployments()}
    # A pool that was removed, so that it could be of another type, leaves its deployments without one.
    whole = all(made.get(name) in provision.POOLS for name in provision.names(file))
    return variable is not None and variable.value == digest and whole


async def _remember(digest: str) -> None:
    from prefect.variables import Variable

    await Variable.aset(VARIABLE, digest, overwrite=True)
