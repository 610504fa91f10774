"""The flows whose agents need this project's endpoint, with it handed in: `prefect.yaml` starts them from here."""

from __future__ import annotations

from deployments.endpoint.rollout import server_of
from flows.agentic_rollouts import agentic_rollouts
from flows.evolve_router import evolve_router
from tasks.coding import provide

__all__ = ["agentic_rollouts", "evolve_router"]

provide(server_of)
