"""A small coding agent: it shows a model the repository, takes whole files from the reply, and runs the check.

    OPENAI_BASE_URL=... OPENAI_API_KEY=... OPENAI_MODEL=... python3 agent.py [--turns 4] [--check COMMAND] INSTRUCTION

It works in the current folder and speaks OpenAI's chat completions; the standard library is all that it needs, since
it runs in a workshop that holds nothing else (so it reads fenced blocks itself, as `models/grading/command.py` does for
replies). It ends with status 0 when the check passes, or no check was given and a file was changed; else with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

MAX_FILE, MAX_FILES, MAX_OUTPUT = 20_000, 40, 2_000  # bytes, files, characters that a prompt holds
REQUEST_S, CHECK_S = 300, 5
FORM = "Reply with the whole new content of each file that you change: a line `### path`, then a fenced block."
FILE = re.compile(r"^### `?([\w./-]+)`?[^\n]*\n+(`{3,})[^\n`]*\n(.*?)^\2[ \t]*$", re.MULTILINE | re.DOTALL)


def repository() -> dict[str, str]:
    """The texts in the current folder, path -> content, hidden files left out."""
    found: dict[str, str] = {}
    for path in sorted(Path().rglob("*")):
        hidden = any(part.startswith((".", "__pycache__")) for part in path.parts)
        if hidden or not path.is_file() or path.is_symlink() or path.stat().st_size > MAX_FILE:
            continue
        try:
            found[path.as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return dict(list(found.items())[:MAX_FILES])


def prompt(instruction: str, check: str, failure: str) -> str:
    """One message that needs no other: the files as they are now, what failed, and last what is wanted."""
    parts = ["The files of a repository:"]
    for path, text in repository().items():
        parts.append(f"### {path}\n```\n{text.rstrip()}\n```")
    if failure:
        parts.append(f"The check says:\n{failure[-MAX_OUTPUT:]}")
    parts.append(FORM)
    parts.append(f"This has to pass: {check}" if check else "There is no check to run.")
    parts.append(instruction.strip())
    return "\n\n".join(parts)


def ask(text: str) -> str:
    """The model's reply."""
    body = {"model": os.environ["OPENAI_MODEL"], "messages": [{"role": "user", "content": text}]}
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"].rstrip("/") + "/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"},
    )
    with urllib.request.urlopen(request, timeout=REQUEST_S) as reply:
        return json.load(reply)["choices"][0]["message"]["content"] or ""


def apply(reply: str) -> list[str]:
    """Write the reply's files, inside the current folder alone; their paths."""
    written = []
    for path, _, content in FILE.findall(reply):
        target = Path(path)
        if target.is_absolute() or ".." in target.parts or not target.resolve().is_relative_to(Path().resolve()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
        written.append(path)
    return written


def failure_of(check: str) -> str:
    """What the check says, "" where it passes."""
    try:
        done = subprocess.run(shlex.split(check), capture_output=True, text=True, errors="replace", timeout=CHECK_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it cannot be run: {error}"
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip() or f"exit status {done.returncode}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("instruction")
    parser.add_argument("--check", default="")
    parser.add_argument("--turns", type=int, default=4)
    given = parser.parse_args()
    failure = failure_of(given.check) if given.check else ""
    for turn in range(1, given.turns + 1):
        try:
            written = apply(ask(prompt(given.instruction, given.check, failure)))
        except urllib.error.HTTPError as error:
            print(f"turn {turn}: the endpoint answers {error.code}: {error.read(500)!r}", file=sys.stderr)
            return 1
        except OSError as error:
            print(f"turn {turn}: the endpoint cannot be reached: {error}", file=sys.stderr)
            return 1
        failure = failure_of(given.check) if given.check else ""
        done = f"turn {turn}: {', '.join(written) or 'no file'} written; the check {'fails' if failure else 'passes'}"
        print(done, flush=True)
        if written and not failure:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
