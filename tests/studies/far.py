"""Which questions a conductor calls far from its lessons: house questions, and public ones that it was never shown.

    python tests/studies/far.py data/conductor llmrouter_train.jsonl mmlupro.jsonl.gz zeroeval.jsonl.gz

prints the figures of data/EXPERIMENTS.md, section 6: a JSON line a part. A file of public questions has a JSON object
with the fields `question` and `task` in each line; of every task 200 questions are drawn (seed 0).
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

from models.conductor.plan.familiar import Familiarity
from models.house.conductor import DEFAULT, questions
from models.house.typed import typed

EACH = 200
"""Questions of a public task."""


def public(path: Path) -> list[str]:
    """Questions of a file, at most `EACH` of every task."""
    tasks: dict[str, list[str]] = {}
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            tasks.setdefault(row["task"], []).append(row["question"])
    rng = Random(0)
    return [text for task in sorted(tasks) for text in rng.sample(tasks[task], min(EACH, len(tasks[task])))]


def told(part: str, familiarity: Familiarity, texts: Sequence[str]) -> None:
    short = [text for text in texts if len(text) <= familiarity.longest]
    far = [familiarity.is_far(text) for text in short]
    figures = {
        "part": part,
        "n": len(texts),
        "far": round(1 - (len(short) - sum(far)) / len(texts), 4),
        "n_short": len(short),
        "far_of_short": round(sum(far) / len(short), 4),
    }
    print(json.dumps(figures), flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("public", type=Path, nargs="*")
    chosen = arguments.parse_args()
    familiarity = Familiarity.load(chosen.folder)
    if familiarity is None:
        raise SystemExit(f"{chosen.folder}: no question is far for this conductor")
    asked = questions(DEFAULT, test=1000, unseen=1000)
    rng = Random(0)
    for split in ("test", "unseen"):
        drawn = [question for question in asked if question.split == split]
        for name, two in (("single-hop", False), ("two-hop", True)):
            texts = [q.messages[-1]["content"] for q in drawn if ("two-hop" in q.tags) is two]
            told(f"house {split}, {name}", familiarity, texts)
            told(f"house {split}, {name}, as typed", familiarity, [typed(rng, text) for text in texts])
    everything = []
    for path in chosen.public:
        texts = public(path)
        told(path.name, familiarity, texts)
        everything += texts
    if everything:
        told("all public", familiarity, everything)


if __name__ == "__main__":
    main()
