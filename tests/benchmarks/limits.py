"""Is a provider's limit obeyed before it is hit? 600 questions labelled under 240 requests a minute.

The provider (`faulty.py`, on loopback) answers 429 to whatever goes beyond 240 calls within any minute. `over_ideal`:
wall time of the flow `refresh-labels` over questions ÷ rate, at most 1.1; `failed`: labels that are missing and calls
that the provider refused, 0. The flow runs in a process of its own, with a real Prefect server.

    python tests/benchmarks/limits.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from candidate_tasks import server
from faulty import provider
from reporting import report
from sqlalchemy import func, select

from deployments.migrations import upgrade
from models.ledger.tables import attempts, tries
from tasks.setup.settings import open_ledger, settings

QUESTIONS, PER_MINUTE = 600, 240
IDEAL_S = 60.0 * QUESTIONS / PER_MINUTE
LABEL = """
import asyncio, sys, time
from flows.refresh_labels import refresh_labels
began = time.perf_counter()
asyncio.run(refresh_labels(pool=sys.argv[1], questions=sys.argv[2]))
print(time.perf_counter() - began)
"""


def measure(home: Path) -> dict[str, float]:
    grading = {"task": "words", "grader": "exact", "reference": "seven"}
    lines = [{"id": f"q{n}", "question": f"What is {n}?", **grading} for n in range(QUESTIONS)]
    (home / "questions.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    limits = {"requests_per_minute": PER_MINUTE, "concurrency": 16}
    with provider(home, 0.0, PER_MINUTE) as upstream:
        worker = {"name": "steady", "model": "openai/steady", "api_base": upstream, "price": {}, "limits": limits}
        (home / "pool.yaml").write_text(yaml.safe_dump({"workers": [worker]}))
        command = [sys.executable, "-c", LABEL, str(home / "pool.yaml"), str(home / "questions.jsonl")]
        flow = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if flow.returncode:
        raise SystemExit(flow.stderr[-3000:])
    ledger = open_ledger()
    with ledger.reading() as connection:
        labelled = connection.execute(select(func.count()).select_from(attempts)).scalar_one()
        failed = connection.execute(select(func.count()).where(tries.c.status != "settled")).scalar_one()
    ledger.close()
    seconds = float(flow.stdout.splitlines()[-1])
    return {
        "over_ideal": round(seconds / IDEAL_S, 3),
        "failed": QUESTIONS - labelled + failed,
        "seconds": round(seconds, 1),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, server(Path(folder) / "home"):
        os.environ["OPENAI_API_KEY"] = "none"
        upgrade(settings().database)
        figures = measure(Path(folder) / "home")
    report("limits", figures, {"over_ideal": ["<=", 1.1], "failed": ["==", 0]})


if __name__ == "__main__":
    main()
