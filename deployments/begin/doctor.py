"""`fugu doctor`: what `fugu up` and the flows need on this machine, what of it is missing, and how to get it.

Nothing is made, asked or spent.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from deployments import server
from deployments.endpoint.watching.traces import RECEIVERS
from deployments.home import find_note, has_keys, ledger_error
from deployments.local.files import GGUF
from deployments.migrations import is_made
from deployments.places import databases
from models.errors import FuguError, IsolationUnavailable, MissingKey, NotFound
from models.grading.grade import needs_sandbox
from models.isolation import sandbox, workshop
from models.workers.pool import Worker
from tasks.setup.questions import read_set
from tasks.setup.settings import HOUSE, NONE, Settings, load_pool, pool_path

ROOM = 2 << 30
"""Bytes of disk below which it is said that they are few: a home with the house's backbone and a month of texts."""

EXTRAS = {
    "gguf": "gguf",
    "lora": "peft",
    "dask": "prefect_dask",
    "ray": "prefect_ray",
    "redis": "prefect_redis",
    "otel": "opentelemetry.sdk",
}
"""What each extra of the package brings."""

State = Literal["ok", "note", "MISSING"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. Only what is MISSING keeps this home from working as it is set."""

    state: State
    name: str
    text: str


def examine(here: Settings) -> list[Finding]:
    """All findings, in the order in which `fugu up` needs the things."""
    found: list[Finding] = []
    for look in (_home, _ledger, _prefect, _ports, _pool, _questions, _backbone, _gpu):
        found += look(here)
    return found


def _home(here: Settings) -> Iterator[Finding]:
    folder = next(each for each in (here.home, *here.home.parents) if each.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("MISSING", "home", f"{folder} cannot be written: set FUGU_HOME, or --home, to a folder that can")
        return
    free = shutil.disk_usage(folder).free
    room = f"{free / (1 << 30):,.1f} GiB free"
    few = " — a home takes up to 2 GiB" if free < ROOM else ""
    yield Finding("note" if few else "ok", "home", f"{here.home}, {room}{few}")


def _ledger(here: Settings) -> Iterator[Finding]:
    where = "PostgreSQL at FUGU_LEDGER_URL" if not here.database_is_a_file else "SQLite"
    try:
        made = is_made(here.database)
    except FuguError as error:
        yield Finding("MISSING", "ledger", str(error))
    except Exception as error:
        if (line := ledger_error(error)) is None:
            raise
        yield Finding("MISSING", "ledger", line)
    else:
        yield Finding("ok", "ledger", where if made else f"{where}; `fugu up` makes it")


def _prefect(here: Settings) -> Iterator[Finding]:
    """The databases of the Prefect server."""
    try:
        yield Finding("ok", "Prefect", f"its server runs on {databases.look(here)}")
    except FuguError as error:
        yield Finding("MISSING", "Prefect", str(error))


def _ports(here: Settings) -> Iterator[Finding]:
    try:
        note = find_note(here.home) if here.home.is_dir() else None
    except NotFound:
        note = None
    if note is not None:
        yield Finding("ok", "ports", f"`fugu up` is running: {note.endpoint or 'the endpoint is starting'}")
        return
    try:
        keys = has_keys(here.database)
    except Exception:
        keys = False  # the ledger's own line says what is wrong with it
    yield from _port(here.host, here.port, "--port", keys)
    yield from _port("127.0.0.1", here.prefect_port, "--prefect-port", False)


def _port(host: str, port: int, flag: str, keys: bool) -> Iterator[Finding]:
    try:
        yield Finding("ok", "port", f"{server.free_port(host, port, flag, has_keys=keys)} is free on {host}")
    except FuguError as error:
        yield Finding("MISSING", "port", str(error))


def _pool(here: Settings) -> Iterator[Finding]:
    """The pool, its keys, and the extras that it and the settings ask for."""
    try:
        pool = load_pool()
    except FuguError as error:
        yield Finding("MISSING", "pool", str(error))
        yield from _extras(here, ())
        return
    yield Finding("ok", "pool", f"{pool.name}, {len(pool.workers)} workers ({pool_path()})")
    for worker in (*pool.workers, *pool.conductors):
        try:
            if not worker.is_recorded:
                worker.check_keys()
        except MissingKey as error:
            yield Finding("MISSING", "key", str(error))
    yield from _extras(here, pool.workers)


def _questions(here: Settings) -> Iterator[Finding]:
    """The questions, and the isolation that grading some of them needs."""
    graders: set[str] = set()
    if here.questions == NONE:
        text = "none: nothing is measured or learned; `fugu up --questions FILE`, or `fugu questions fetch` for some"
        yield Finding("note", "questions", text)
    elif here.questions == HOUSE:
        yield Finding("ok", "questions", "those of the house")  # none of which is graded by running code
    else:
        try:
            questions = read_set(Path(here.questions))
        except FuguError as error:
            yield Finding("MISSING", "questions", str(error))
        else:
            graders |= {question.grader for question in questions}
            yield Finding("ok", "questions", f"{len(questions):,} in {here.questions}")
    yield from _isolation(any(map(needs_sandbox, graders)))


def _isolation(needed: bool) -> Iterator[Finding]:
    """`needed`: whether code is graded."""
    for what, level in (("code of replies", sandbox.isolation), ("coding agents", workshop.isolation)):
        try:
            yield Finding("ok", "isolation", f"{what}: {level()}")
        except IsolationUnavailable as error:
            lacking = needed and level is sandbox.isolation
            yield Finding("MISSING" if lacking else "note", "isolation", f"{what}: {error}")


def _backbone(here: Settings) -> Iterator[Finding]:
    if here.backbone == HOUSE:
        yield Finding("ok", "backbone", "the house's, which `fugu up` makes once, in about a minute")
    elif Path(here.backbone).is_dir():
        lacks = not (Path(here.backbone) / "config.json").is_file()
        text = f"{here.backbone} has no config.json, so it is no model's folder" if lacks else here.backbone
        yield Finding("MISSING" if lacks else "ok", "backbone", text)
    else:
        yield Finding("note", "backbone", f"{here.backbone} is fetched from the model hub where it is not there yet")


def _gpu(here: Settings) -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        yield Finding("ok", "GPU", torch.cuda.get_device_name())
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        yield Finding(
            "note", "GPU", f"none: routers learn and decide on {cores} CPU cores, with torch {torch.__version__}"
        )


def _extras(here: Settings, workers: Sequence[Worker]) -> Iterator[Finding]:
    """The package's extras that are asked for and not installed, and those that nobody asks for."""
    wanted = dict.fromkeys([str(here.task_runner)], f"FUGU_TASK_RUNNER={here.task_runner}")
    if receiver := next(filter(os.environ.get, RECEIVERS), None):
        wanted["otel"] = receiver
    if files := [worker.name for worker in workers if worker.is_local and worker.model.endswith(GGUF)]:
        wanted["gguf"] = f"worker {files[0]!r}"
    absent = [name for name, module in EXTRAS.items() if not _is_there(module)]
    for name in absent:
        if name in wanted:
            yield Finding("MISSING", name, f"{wanted[name]} needs it: pip install 'fugu-flows[{name}]'")
    rest = [name for name in absent if name not in wanted]
    if rest:
        yield Finding("note", "extras", f"not installed, and nothing asks for them: {', '.join(rest)}")


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is missing
        return False
