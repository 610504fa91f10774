"""Prefect's command line with a process worker that starts every flow run as its pool's template says, and as it alone.

    python -m deployments.pool_worker worker start --pool cpu --type process

Prefect's own worker lays whatever job variables reached its database over the template, `env` even where the template
leaves no place for it, and the server does not hold all of them against the template.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Self

from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient


class FixedJob(ProcessJobConfiguration):
    """A job of which a caller sets nothing."""

    @classmethod
    async def from_template_and_values(
        cls, base_job_template: dict[str, Any], values: dict[str, Any], client: PrefectClient | None = None
    ) -> Self:
        return await super().from_template_and_values(base_job_template, {}, client=client)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Prefect says that this one takes the place of its own

    class FixedWorker(ProcessWorker):
        """Of the type `process`, in place of Prefect's own."""

        job_configuration = FixedJob


if __name__ == "__main__":
    from prefect.cli import app

    app()
