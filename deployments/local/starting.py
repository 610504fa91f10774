"""Start the processes of a pool's local models, under guards, and wait for them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployments.services import Services
from models.workers.local import find, is_held, note_file, reference

LOADING_S = 1800.0
"""Seconds until a model must be loaded: it may have to be fetched, or converted, first."""


def start_models(
    models: Sequence[str], notes: Path, services: Services, environment: Mapping[str, str], queue: int | None = None
) -> None:
    """Start a process for each model that none serves yet. It ends with the services.

    Unless the environment says otherwise they share the CPUs: processes of which each computes with as many threads as
    there are CPUs wait for one another's at each of a token's many small products.
    """
    share = max(1, (os.cpu_count() or 1) // max(1, len(models)))
    environment = {"OMP_NUM_THREADS": str(share), "OMP_WAIT_POLICY": "PASSIVE"} | dict(environment)
    for model in models:
        if not is_held(notes, model):
            more = [] if queue is None else ["--queue", str(queue)]
            services.start(log_name(notes, model), ["deployments.local", model, *more], environment)


def log_name(notes: Path, model: str) -> str:
    """The name of the model's process and log: short, safe in a file's name, one for each model."""
    word = re.sub(r"[^A-Za-z0-9.-]+", "-", Path(reference(model)).name)[:60]
    return f"local-{word}-{note_file(notes, model).stem[:6]}"


def words_of(model: str, notes: Path) -> str:
    """What a person is told of a model that is served; empty while it is loading."""
    note = find(notes, model)
    if note is None:
        return ""
    return f"{model} is served" + ("" if note.template == "own" else f"; {PLAIN}")


PLAIN = "its tokenizer has no chat template, so a plain one is used"
