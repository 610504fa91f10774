"""Does any request that the published document allows, or forbids, break the endpoint? 5,000 cases by schemathesis.

schemathesis reads /openapi.json and makes requests of it, half of the cases with an API key: examples, the edges of
every schema, random bodies. `server_errors`: answers with a status of 500 or more (the workers of this endpoint do not
fail); `hung`: requests without an answer in half a minute; `other_failures`: failures of the other four checks (status,
content type and body are as the document says; what breaks the schema is refused); `cases`: how many were tried.

    python tests/benchmarks/fuzz.py [CASES]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import beside  # noqa: F401
from faults import endpoint
from faulty import provider
from fuzzing import CHECKS, HOOKS, OPTIONS
from keyed import with_key
from reporting import report

CASES, HUNG_S = 5000, 30.0
SERVER = "not_a_server_error"


def fuzz(url: str, folder: Path, cases: int, headers: Mapping[str, str]) -> Counter[str]:
    """Put `cases` requests or more; how many there were, and how many failures of each check."""
    (folder / "hooks.py").write_text(HOOKS)
    found: Counter[str] = Counter()
    seed = 0
    while found["cases"] < cases:
        events = folder / f"events-{seed}.ndjson"
        given = [option for name, value in headers.items() for option in ("-H", f"{name}:{value}")]
        subprocess.run(
            [
                *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json", "--no-color"),
                *(*OPTIONS, "--generation-database", "none", "--continue-on-failure", "--request-timeout", str(HUNG_S)),
                *("--phases", "examples,coverage,fuzzing", "-n", str(max(50, cases // 20)), "--seed", str(seed)),
                *("--report", "ndjson", "--report-ndjson-path", str(events), *given),
            ],
            cwd=folder,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks"},
            stdout=(folder / f"schemathesis-{seed}.log").open("w"),
            check=False,
        )
        counted = _counted(events)
        assert counted["cases"], (folder / f"schemathesis-{seed}.log").read_text()[-2000:]
        found += counted
        seed += 1
    return found


def _counted(events: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for line in events.read_text().splitlines():
        for recorder in _inner(json.loads(line), "recorder"):
            found["cases"] += len(recorder.get("cases", ()))
            for checks in recorder.get("checks", {}).values():
                for check in checks:
                    if check.get("status") == "failure":
                        found[str(check["name"])] += 1
                        print(json.dumps(check)[:2000], flush=True)
            for interaction in recorder.get("interactions", {}).values():
                found["hung"] += interaction.get("response") is None
    return found


def _inner(value: Any, name: str) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == name and inner:
                yield inner
            else:
                yield from _inner(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _inner(inner, name)


def main() -> None:
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else CASES
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with provider(folder, 0.0) as upstream, endpoint(folder, upstream, breakers=True) as base:
            url = base.removesuffix("/v1")
            found += fuzz(url, folder, cases // 2, {})
            found += fuzz(url, folder, cases // 2, with_key())
    figures = {
        "server_errors": found[SERVER],
        "hung": found["hung"],
        "other_failures": sum(found[check] for check in CHECKS if check != SERVER),
        "cases": found["cases"],
    }
    report("fuzz", figures, {"server_errors": ["==", 0], "hung": ["==", 0], "cases": [">=", cases]})


if __name__ == "__main__":
    main()
