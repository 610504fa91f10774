"""A running Dask cluster as a task runner: its processes get the settings of the flow.

To be imported where the extra `dask` is installed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

from distributed import WorkerPlugin
from prefect_dask import DaskTaskRunner


class Environment(WorkerPlugin):
    """Sets variables in each process of a cluster, also in those that join later."""

    name = "fugu-environment"

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = dict(variables)

    def setup(self, worker: Any) -> None:
        """Called by Dask in each process."""
        os.environ.update(self.variables)


class AddressedDask(DaskTaskRunner):
    """`environment`: the variables of the flow's settings."""

    def __init__(self, address: str, environment: Mapping[str, str]) -> None:
        super().__init__(address)
        self.environment = environment

    def __enter__(self) -> Self:
        super().__enter__()
        self.client.register_plugin(Environment(self.environment))
        return self
