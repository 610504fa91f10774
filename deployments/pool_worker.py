"""Prefect's command line with a process worker that ignores job variables: only the pool's template counts.

    python -m deployments.pool_worker worker start --pool cpu --type process

Prefect's own worker merges all job variables in its database into the template, `env` even if the template has no such
variable, and the server does not validate all of them.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Self

from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient


class FixedJob(ProcessJobConfiguration):
    """A job configuration without job variables."""

    @classmethod
    async def from_template_and_values(
        cls, base_job_template: dict[str, Any], values: dict[str, Any], client: PrefectClient | None = None
    ) -> Self:
        return await super().from_template_and_values(base_job_template, {}, client=client)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Prefect warns that the type `process` is replaced

    class FixedWorker(ProcessWorker):
        """Replaces Prefect's worker of type `process`."""

        job_configuration = FixedJob


if __name__ == "__main__":
    from prefect.cli import app

    app()
