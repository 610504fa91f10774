"""The page of what changed under a worker's name, and the event on which Prefect measures it anew."""

from __future__ import annotations

import pandas as pd
from prefect import get_run_logger
from prefect.events import emit_event

from models.evaluation.drift import ALARM, Drift, drifts
from tasks.pages.report import publish, table

FELL = "fugu.worker.fell"
"""The event; its payload names the worker."""


async def drift_page(repeated: pd.DataFrame) -> None:
    """Compare each worker's newest answers with the ones before, where there are some: `labels.repeated`."""
    found = drifts(repeated)
    if not found:
        return
    rows = [
        {
            "worker": each.worker,
            "asked again": each.pairs,
            "worse": each.worse,
            "better": each.better,
            "before": round(each.before, 3),
            "now": round(each.now, 3),
            "p": float(f"{each.p:.2g}"),
        }
        for each in found
    ]
    fallen = [each for each in found if each.fell]
    said = " ".join(map(_told, fallen)) or "No worker answers worse than before."
    rate = f"A worker that has not changed raises an alarm at one refresh in {1 / ALARM:.0f} at most."
    await table("drift", rows, f"{said} {rate}")
    for each in (each for each in fallen if each.alarm):
        get_run_logger().warning("%s", _told(each))
        await publish("drift-alarm", f"{_told(each)} It is measured anew by the automation of `measure-nightly`.")
        emit_event(FELL, {"prefect.resource.id": f"fugu.worker.{each.worker}"}, payload={"worker": each.worker})


def _told(drift: Drift) -> str:
    return (
        f"{drift.worker} has fallen from {drift.before:.2f} to {drift.now:.2f} on {drift.pairs:,} questions that it "
        f"was asked again ({drift.worse} worse, {drift.better} better, p = {drift.p:.1g})."
    )
