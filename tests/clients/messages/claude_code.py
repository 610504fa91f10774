"""Claude Code, without its interactive screen: it reads a file and runs a command because the model says so.

Whatever it wants from other hosts goes to a proxy that is not there.
"""

# /// script
# npm = ["@anthropic-ai/claude-code@latest"]
# ///

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from telling import API_KEY, ROOT_URL, tell

PACKAGE = Path(os.environ["CLIENT_HOME"]) / "node_modules" / "@anthropic-ai" / "claude-code"
DEAD = "http://127.0.0.1:9"
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": os.environ["HOME"],
    "ANTHROPIC_BASE_URL": ROOT_URL,
    "ANTHROPIC_AUTH_TOKEN": API_KEY,
    "ANTHROPIC_DEFAULT_HAIKU_MODEL": "fugu",
    "HTTPS_PROXY": DEAD,
    "HTTP_PROXY": DEAD,
    "NO_PROXY": "127.0.0.1",
    "DISABLE_AUTOUPDATER": "1",
}


def asked(prompt: str, *options: str) -> dict[str, Any]:
    """What it says in the end, as its JSON."""
    command = [str(PACKAGE / "bin" / "claude.exe"), "-p", prompt, "--model", "fugu[1m]", "--output-format", "json"]
    done = subprocess.run(
        [*command, *options], env=ENVIRONMENT, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-1500:]
    told = json.loads(done.stdout)
    assert told["num_turns"] == 2 and not told["is_error"], told
    assert told["usage"]["input_tokens"] > 0 and told["usage"]["output_tokens"] > 0, told["usage"]
    return told


def read() -> None:
    """a Read of a file"""
    note = Path.cwd() / "note.txt"
    note.write_text("the secret word is tanuki\n")
    call = f"CALL Read {json.dumps({'file_path': str(note)})}"
    assert "tanuki" in asked(call, "--allowedTools", "Read")["result"]


def bash() -> None:
    """a Bash command, with thinking"""
    call = f"CALL Bash {json.dumps({'command': 'echo $((6 * 7))', 'description': 'multiply'})}"
    assert "42" in asked(f"ultrathink: {call}", "--allowedTools", "Bash")["result"]


if __name__ == "__main__":
    tell("Claude Code", json.loads((PACKAGE / "package.json").read_text())["version"], read, bash)
