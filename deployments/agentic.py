"""The flows whose coding agents call this project's endpoint. `prefect.yaml` starts them from this module, which
provides the endpoint: flows must not import deployments.
"""

from __future__ import annotations

from deployments.endpoint.rollout import server_of
from flows.agentic_rollouts import agentic_rollouts
from flows.evolve_router import evolve_router
from tasks.coding import provide

__all__ = ["agentic_rollouts", "evolve_router"]

provide(server_of)
