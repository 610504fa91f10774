"""A small question set of sums, comparisons and capitals, and a small preset, for the pool of two local models.

    python tests/studies/local_pool.py HOME      # writes HOME/questions.jsonl and, with the small preset, HOME/data

Then, with the models in HOME/weights as README.md says:

    FUGU_DATA=HOME/data fugu up --home HOME --pool data/pools/local.yaml --questions HOME/questions.jsonl
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tasks.setup.settings import PROJECT

CAPITALS = """
    Peru Lima, Chile Santiago, France Paris, Italy Rome, Spain Madrid, Portugal Lisbon, Germany Berlin, Austria Vienna,
    Poland Warsaw, Hungary Budapest, Greece Athens, Egypt Cairo, Kenya Nairobi, Ghana Accra, Japan Tokyo, China Beijing,
    India Delhi, Russia Moscow, Norway Oslo, Ireland Dublin
"""

EACH = 20
"""Questions of each task: 10 to train, 4 to validate, 6 to test."""

PRESET = {
    "first-light": {
        "questions": {"train": 30, "validation": 12, "test": 18, "unseen": 0},  # of the house: not used here
        "repeats": 1,
        "backbone": {"size": "tiny", "lines": 640},
        "layout": "late",
        "evolution": {"population": 2, "generations": 1, "questions": 4, "validation": 4},
    }
}
"""Labels as ever; the evolution is one generation, of which nothing can be expected."""


def questions(seed: int = 0) -> Iterator[dict[str, Any]]:
    drawn = random.Random(seed)
    for index in range(EACH):
        a, b = drawn.randint(2, 9), drawn.randint(2, 9)
        text = f"What is {a} + {b}? Answer with the number only."
        yield _row("sums", index, text, "number", a + b)
    for index in range(EACH):
        a, b = drawn.sample(range(10, 100), 2)
        text = f"Which number is larger, {a} or {b}? Answer with the number only."
        yield _row("larger", index, text, "number", max(a, b))
    for index, pair in enumerate(CAPITALS.split(",")):
        country, capital = pair.split()
        text = f"What is the capital of {country}? Answer with one word."
        yield _row("capitals", index, text, "exact", capital)


def _row(task: str, index: int, text: str, grader: str, reference: object) -> dict[str, Any]:
    split = "train" if index < 10 else "validation" if index < 14 else "test"
    row = {"id": f"{task}-{index}", "task": task, "split": split}
    return row | {"question": text, "grader": grader, "reference": reference}


def main(home: Path) -> None:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    (home / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions()))
    shutil.copytree(PROJECT / "data", home / "data", dirs_exist_ok=True)
    (home / "data" / "presets.yaml").write_text(yaml.safe_dump(PRESET))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
