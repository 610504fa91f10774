# /// script
# npm = ["@openai/codex"]
# ///
"""Codex by OpenAI, which speaks the Responses API only: `codex exec` runs a command that the worker asks for."""

import json
import os
import subprocess
from pathlib import Path

from telling import BASE_URL, tell

HOME = Path(os.environ["CLIENT_HOME"])
PROGRAM = HOME / "node_modules" / ".bin" / "codex"
CONFIG = """
model = "{model}"
model_provider = "fugu"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.fugu]
name = "fugu"
base_url = "{url}"
env_key = "FUGU_API_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""
NOWHERE = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9")
"""A proxy that is not there: nothing but this machine can be reached."""


def run(model: str, *words: str) -> list[dict]:
    folder = Path.cwd() / model
    (folder / "work").mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(CONFIG.format(model=model, url=BASE_URL))
    done = subprocess.run(
        [str(PROGRAM), "exec", "--json", "--skip-git-repo-check", *words],
        cwd=folder / "work",
        env={**os.environ, **NOWHERE, "NO_PROXY": "127.0.0.1,localhost", "CODEX_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=150,
        stdin=subprocess.DEVNULL,
    )
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, (done.stdout[-600:], done.stderr[-1500:])
    return events


def round_trip() -> None:
    """`codex exec`: a command that the worker asks for is run, and its output answered"""
    # The step of a workflow has a text of its own, so that there the worker asks for its own command.
    for model, printed in (("fugu", "fugu-42"), ("fugu-ultra", "fugu")):
        events = run(model, 'CALL exec_command {"cmd": "echo fugu-$((40 + 2))"}')
        items = [event["item"] for event in events if event["type"] == "item.completed"]
        [command] = [item for item in items if item["type"] == "command_execution"]
        assert command["aggregated_output"] == f"{printed}\n", command
        assert any(
            item["text"].strip().endswith(f"\n{printed}") for item in items if item["type"] == "agent_message"
        ), items


def resume() -> None:
    """`codex exec resume`: a second turn of the same session"""
    events = run("fugu", "resume", "--last", "CALL nothing and say what it was")
    said = [event["item"] for event in events if event["type"] == "item.completed"]
    assert any(item["type"] == "agent_message" for item in said), said


def number() -> str:
    return json.loads((HOME / "node_modules" / "@openai" / "codex" / "package.json").read_text())["version"]


if __name__ == "__main__":
    tell("Codex", number(), round_trip, resume)
