"""What /openapi.json says is what the endpoint does: schemathesis finds no case that it contradicts.

`FUGU_CASES=2000 python -m pytest -n 0 -s tests/endpoint/test_schemathesis.py` tries 2,000 cases of each operation,
and those at the edges of the schema.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import HOOKS, OPTIONS

CASES = int(os.environ.get("FUGU_CASES", "0"))
FEW = ["-n", "15", "--phases", "examples,fuzzing", "--generation-deterministic"]
MANY = ["-n", str(CASES), "--phases", "examples,coverage,fuzzing", "--generation-database", "none"]


@pytest.mark.programs
def test_nothing_is_answered_that_the_schema_does_not_say(house, plan, upstream, tmp_path: Path):
    (tmp_path / "hooks.py").write_text(HOOKS)
    program = str(Path(sys.executable).with_name("schemathesis"))
    with house(fugu={"kind": "worker", "worker": "echo"}, plan=plan(("echo", "say it", []))) as here:
        here.raw.get("/openapi.json", timeout=60)  # makes it, for which schemathesis has too little patience
        run = subprocess.run(
            [program, "run", f"{here.url}/openapi.json", "--no-color", *OPTIONS, *(MANY if CASES else FEW)],
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks"},
            capture_output=True,
            text=True,
        )
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"Selected: (\d+)/\1\s+Tested: \1\s", run.stdout) and upstream.seen
