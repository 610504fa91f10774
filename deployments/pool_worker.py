"""Prefect's command line with workers that ignore job variables: only the pool's template counts.

    python -m deployments.pool_worker worker start --pool cpu --type process

Prefect's own workers merge all job variables in its database into the template, `env` even if the template has no such
variable, and the server does not validate all of them. The types docker and kubernetes need the extras of these names.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, Self

from prefect.utilities.dispatch import get_registry_for_type
from prefect.workers.base import BaseJobConfiguration, BaseWorker
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

CONTAINERS = {
    "docker": ("prefect_docker.worker", "DockerWorker", "DockerWorkerJobConfiguration"),
    "kubernetes": ("prefect_kubernetes.worker", "KubernetesWorker", "KubernetesWorkerJobConfiguration"),
}
"""Where Prefect's integrations have their workers."""


class Fixed(BaseJobConfiguration):
    """A job configuration without job variables."""

    @classmethod
    async def from_template_and_values(
        cls, base_job_template: dict[str, Any], values: dict[str, Any], client: PrefectClient | None = None
    ) -> Self:
        """Variables of the environment without a value get the worker's own, or are left out: no secret has to stand
        in the template."""
        job: Self = await super().from_template_and_values(base_job_template, {}, client=client)
        own = {name: os.environ.get(name) for name, value in job.env.items() if value is None}
        job.env = {name: value for name, value in {**job.env, **own}.items() if value is not None}
        return job


class FixedJob(Fixed, ProcessJobConfiguration):
    """Of the type process."""


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Prefect warns that the type `process` is replaced

    class FixedWorker(ProcessWorker):
        """Replaces Prefect's worker of type `process`."""

        job_configuration = FixedJob


def replace(kind: str) -> type[Any] | None:
    """Replace Prefect's worker of a type of containers; returns the new one, or `None` if its extra is not installed:
    then there is nothing to replace."""
    module, worker, job = CONTAINERS[kind]
    try:
        theirs = importlib.import_module(module)
    except ImportError:
        return None
    fixed = type("FixedJob", (Fixed, getattr(theirs, job)), {})
    made = type("FixedWorker", (getattr(theirs, worker),), {"job_configuration": fixed})
    # Prefect registers a class by itself only where it finds its source, which a made one has not.
    known: dict[str, Any] = get_registry_for_type(BaseWorker) or {}
    known[kind] = made
    return made


if __name__ == "__main__":
    # Their imports take seconds, which a worker of processes need not wait for. Without a type, the pool's is taken.
    if "process" not in sys.argv:
        for each in CONTAINERS:
            replace(each)

    from prefect.cli import app

    app()
