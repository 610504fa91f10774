# /// script
# npm = ["opencode-ai"]
# ///
"""OpenCode: a run that calls its tool for shell commands and reads the result."""

import json
import os
import subprocess
from pathlib import Path

from telling import API_KEY, BASE_URL, tell

DEAD = "http://127.0.0.1:9"
"""It looks for its models and its newest version on hosts outside."""


def opencode(prompt: str) -> str:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": BASE_URL, "apiKey": API_KEY},
        "models": {"fugu": {"name": "fugu", "tool_call": True}},
    }
    config = {
        "provider": {"fugu": provider},
        "model": "fugu/fugu",
        "small_model": "fugu/fugu",
        "permission": "allow",
        "autoupdate": False,
    }
    Path("opencode.json").write_text(json.dumps(config))
    own = {
        "HTTPS_PROXY": DEAD,
        "NO_PROXY": "127.0.0.1,localhost",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
    }
    done = subprocess.run(
        ["opencode", "run"], input=prompt, env={**os.environ, **own}, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]
    return done.stdout + done.stderr


def tool() -> None:
    """a run in which a tool for commands is called"""
    said = opencode('CALL bash {"command": "echo fugu-$((40 + 2))", "description": "say it"}')
    assert "fugu-42" in said, said[-800:]


if __name__ == "__main__":
    package = Path(os.environ["CLIENT_HOME"]) / "node_modules" / "opencode-ai" / "package.json"
    tell("OpenCode", json.loads(package.read_text())["version"], tool)
