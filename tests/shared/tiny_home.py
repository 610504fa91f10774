"""The files of a home in which `fugu up` starts with stand-ins: two workers of the house, five questions."""

from __future__ import annotations

import os
from pathlib import Path

POOL = "name: tiny\nworkers:\n  - {name: calc, model: house/calc}\n  - {name: sage, model: house/sage}\n"
QUESTION = '{"id": "q%d", "task": "t", "question": "%d + 1?", "grader": "number", "reference": %d}\n'


def write(folder: Path, deployments: str) -> Path:
    """Write the pool, the questions and the deployments; returns the file of these."""
    (folder / "tiny.yaml").write_text(POOL)
    (folder / "questions.jsonl").write_text("".join(QUESTION % (i, i, i + 1) for i in range(5)))
    file = folder / "prefect.yaml"
    file.write_text(deployments)
    return file


def environment(folder: Path, home: Path, modules: Path, **own: str) -> dict[str, str]:
    """What a command in this home finds in its environment, which has nothing of Prefect's. `modules`: the folder of
    the stand-ins."""
    mine = {
        "FUGU_HOME": str(home),
        "FUGU_POOL": str(folder / "tiny.yaml"),
        "FUGU_QUESTIONS": str(folder / "questions.jsonl"),
        "FUGU_BACKBONE": "backbones/none-0",  # the stand-in flow needs none, so none is made
        "PYTHONPATH": os.pathsep.join((str(modules), os.environ.get("PYTHONPATH", ""))),
    }
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | mine | own
