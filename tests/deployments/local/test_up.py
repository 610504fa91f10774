"""`fugu up` with a local model alone: it starts the model's process, serves it, and ends it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import psutil
import pytest

from models.workers.local import find

pytestmark = pytest.mark.programs

TEMPLATE = "{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}[assistant]"
POOL = "workers:\n  - {name: mine, model: local/own, limits: {max_output_tokens: 12}}\n"
SAID = [{"role": "user", "content": "What is 17 + 25?"}]


@pytest.fixture(scope="module")
def up(tmp_path_factory, make_model, prefect_database) -> Iterator[tuple[Path, subprocess.Popen[str], str]]:
    """A home, its `fugu up` that serves, and what that said until then."""
    home = tmp_path_factory.mktemp("home")
    make_model(home / "weights" / "own", TEMPLATE)
    (home / "pool.yaml").write_text(POOL)
    (home / "prefect").mkdir()
    shutil.copy(prefect_database, home / "prefect" / "prefect.db")
    words = ["up", "--port", "0", "--prefect-port", "0", "--pool", str(home / "pool.yaml")]
    process = subprocess.Popen(
        [sys.executable, "-c", "from deployments.cli import main; main()", *words],
        env=os.environ | {"FUGU_HOME": str(home), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("Prefect   "):
                break
        assert said[-1].startswith("Prefect   "), "".join(said)
        yield home, process, "".join(said)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def test_a_local_model_alone_is_started_served_whole_and_streamed_and_ended(up) -> None:
    home, process, said = up
    assert "nothing was measured: worker 'mine' answers" in said
    url = json.loads((home / "up.json").read_text())["endpoint"]
    assert httpx.get(f"{url}/readyz").json()["ready"] is True
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        for model in ("fugu", "trinity"):
            whole = client.chat.completions.create(model=model, messages=SAID, temperature=0)
            assert whole.choices[0].message.content and whole.usage.completion_tokens == 12
        stream = client.chat.completions.create(model="fugu", messages=SAID, temperature=0, stream=True)
        pieces = [
            chunk.choices[0].delta.content for chunk in stream if chunk.choices and chunk.choices[0].delta.content
        ]
    assert "".join(pieces) == whole.choices[0].message.content and len(pieces) > 3
    note = find(home / "local", "local/own")
    assert note is not None and psutil.pid_exists(note.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    deadline = time.monotonic() + 20
    while psutil.pid_exists(note.pid):
        assert time.monotonic() < deadline, "the model outlives `fugu up`"
        time.sleep(0.1)  # another process is waited for, which can only be looked at
