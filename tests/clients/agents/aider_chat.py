# /// script
# dependencies = ["aider-chat"]
# ///
"""aider: a question, and an edit of a file in a git repository by the worker's words."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from telling import API_KEY, BASE_URL, tell

GIT = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.c"}
DEAD = "http://127.0.0.1:9"
"""It looks for its newest version and for prices on hosts outside."""

EDIT = """Please repeat:

note.txt
<<<<<<< SEARCH
one
=======
two
>>>>>>> REPLACE
"""


def aider(*words: str) -> str:
    options = (
        "--no-check-update --no-analytics --no-show-model-warnings --no-gitignore --yes-always --no-pretty --no-stream"
    )
    own = {"OPENAI_API_BASE": BASE_URL, "OPENAI_API_KEY": API_KEY, "HTTPS_PROXY": DEAD, "NO_PROXY": "127.0.0.1"}
    command = [str(Path(sys.executable).with_name("aider")), "--model", "openai/fugu", *options.split(), *words]
    done = subprocess.run(command, env={**os.environ, **own, **GIT}, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr[-400:]
    return done.stdout


def question() -> None:
    """a question"""
    subprocess.run(["git", "init", "-q"], check=True)
    Path("note.txt").write_text("one\n")
    assert "You said" in aider("--message", "hello")


def edit() -> None:
    """an edit of a file, by what the worker wrote"""
    aider("--edit-format", "diff", "--message", EDIT, "note.txt")
    assert Path("note.txt").read_text() == "two\n", Path("note.txt").read_text()


if __name__ == "__main__":
    tell("aider", version("aider-chat"), question, edit)
