"""The automation that ends flow runs whose process is gone: a run sends heartbeats until it ends or is killed.

On one machine `fugu up` does it at its next start. On a server of its own nobody else would notice: the run of a killed
container, pod or machine would stay Running.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture
from prefect.client.schemas.objects import StateType
from prefect.settings import get_current_settings

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

NAME = "fugu: flow runs without a heartbeat are crashed"
HEARTBEAT = "prefect.flow-run.heartbeat"
MISSED = 3
"""Heartbeats that have to be missing, one after the other."""


def wanted() -> AutomationCore | None:
    """The automation; `None` where heartbeats are off (PREFECT_FLOWS_HEARTBEAT_FREQUENCY, which the runs need, too)."""
    seconds = get_current_settings().flows.heartbeat_frequency
    if seconds is None:
        return None
    ends = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
    trigger = EventTrigger(
        after={HEARTBEAT},
        expect={HEARTBEAT, *ends},
        match={"prefect.resource.id": ["prefect.flow-run.*"]},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=MISSED * seconds),
    )
    message = f"no heartbeat for {MISSED * seconds} s: its process is gone"
    return AutomationCore(
        name=NAME,
        description=f"Made by fugu provision. {MISSED} heartbeats of a flow run are missing.",
        trigger=trigger,
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=message)],
    )


async def apply(client: PrefectClient) -> str | None:
    """Make it, or bring it up to date; returns what was done. One that somebody disabled stays so."""
    new = wanted()
    if new is None:
        return None
    found = await client.read_automations_by_name(NAME)
    if not found:
        await client.create_automation(new)
        return f"automation {NAME!r} created"
    if _meaning(found[0]) == _meaning(new):
        return None
    await client.update_automation(found[0].id, new.model_copy(update={"enabled": found[0].enabled}))
    return f"automation {NAME!r} updated"


def _meaning(automation: AutomationCore) -> dict[str, Any]:
    dumped = automation.model_dump(mode="json", include={"description", "trigger", "actions"})
    for name in ("after", "expect", "for_each"):  # sets, in any order
        dumped["trigger"][name] = sorted(dumped["trigger"][name])
    dumped["trigger"].pop("id", None)
    return dumped
