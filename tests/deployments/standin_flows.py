"""Stands in for the real flows: writes to the ledger what a first learning leaves there, and says where it ran."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import numpy as np
from prefect import flow
from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from models.grading.grade import version
from models.ledger.epochs import open_epoch
from models.ledger.labels import Attempt, put_attempts
from models.ledger.registry import promote, save_checkpoint
from models.workers.pool import Pool
from tasks.setup.preset import load_preset
from tasks.setup.questions import load_set
from tasks.setup.settings import open_ledger, pool_path, settings


@flow(name="refresh-labels", flow_run_name="refresh labels of {pool}")
async def refresh_labels(pool: str, questions: str, preset: str) -> None:
    artifact = await acreate_progress_artifact(progress=0.0, key="labels")
    ledger, workers, plan = open_ledger(), Pool.load(pool_path(pool)), load_preset(preset)
    known = load_set(questions, plan.questions, ledger)
    epoch = open_epoch(ledger, workers.name, known.name)
    put_attempts(
        ledger,
        [
            Attempt(epoch, q.id, w.name, w.revision, repeat, q.grader, version(q.grader), 1.0)
            for q in known.questions
            for w in workers.workers
            for repeat in range(plan.repeats)
        ],
    )
    await aupdate_progress_artifact(artifact_id=artifact, progress=100.0)
    await asyncio.sleep(1)  # long enough to be seen under way: `fugu up` looks at its progress now and then


@flow(name="first-light", flow_run_name="first light on {pool}")
async def first_light(pool: str, questions: str, preset: str, backbone: str, max_usd: float) -> None:
    await refresh_labels(pool, questions, preset)
    ledger = open_ledger()
    known, workers = load_set(questions, load_preset(preset).questions, ledger), Pool.load(pool_path(pool))
    meta = {"kind": "evolved", "pool": "tiny", "preset": preset, "backbone": backbone}
    meta |= {"questions": known.name, "workers": list(workers.names)}
    save_checkpoint(ledger, name="evolved", vector=np.ones(3, np.float32), meta=meta)
    for model in ("fugu", "trinity"):
        promote(ledger, model, {"kind": "worker", "worker": "calc"}, "stand-in")
    where = {"python": sys.executable, "files": os.listdir(), "home": str(settings().home), "max_usd": max_usd}
    reports = settings().home / "reports"
    reports.mkdir()
    (reports / "run.json").write_text(json.dumps(where))
    (reports / "comparison.md").write_text("| router | mean |\n|---|---|\n| evolved | 0.9 |\n")


@flow(name="wait")
async def wait(started: str) -> None:
    Path(started).touch()
    await asyncio.sleep(600)  # it is there to be killed
