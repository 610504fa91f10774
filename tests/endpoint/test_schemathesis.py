"""What /openapi.json says is what the endpoint does: schemathesis finds no case that it contradicts.

`FUGU_CASES=2000 python -m pytest -n 0 -s tests/endpoint/test_schemathesis.py` tries 2,000 cases of each operation,
and those at the edges of the schema.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CASES = int(os.environ.get("FUGU_CASES", "0"))
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)

HOOKS = '''
import schemathesis

@schemathesis.hook
def map_body(context, body):
    """Models that are there, most of the time: nearly every other name is a 404. One that is too long stays so."""
    served = ("fugu", "trinity", "fugu-ultra", "fugu")
    if isinstance(body, dict) and isinstance(name := body.get("model"), str) and len(name) <= 512:
        body["model"] = (*served, name)[len(name) % 5]
    return body
'''


FEW = ["-n", "15", "--phases", "examples,fuzzing", "--generation-deterministic"]
MANY = ["-n", str(CASES), "--phases", "examples,coverage,fuzzing", "--generation-database", "none"]
OPTIONS = ["--checks", ",".join(CHECKS), "--suppress-health-check", "all", "--generation-allow-x00", "false"]


def test_nothing_is_answered_that_the_schema_does_not_say(house, plan, upstream, tmp_path: Path):
    (tmp_path / "hooks.py").write_text(HOOKS)
    program = str(Path(sys.executable).with_name("schemathesis"))
    with house(fugu={"kind": "worker", "worker": "echo"}, plan=plan(("echo", "say it", []))) as here:
        run = subprocess.run(
            [program, "run", f"{here.url}/openapi.json", "--no-color", *OPTIONS, *(MANY if CASES else FEW)],
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks"},
            capture_output=True,
            text=True,
        )
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Tested: 8" in run.stdout and upstream.seen
