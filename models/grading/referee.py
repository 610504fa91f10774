r"""Comparison of mathematical texts by math-verify: relations, unions, matrices, sets, binomials.

The library has no limits of time and memory, so it runs in one confined process (`referee_inside.py`), which is started
on first use and killed when it takes too long. It ends when this process does (at the end of its input); a parent-death
signal would end it with the thread that started it. Texts with words, unknown commands and numbers with a base are not
sent to it: it reads `hello` as a product, `\pmod` as \pm and `101_2` as 101.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import selectors
import subprocess
import sys
import threading
from pathlib import Path

from models.errors import IsolationUnavailable
from models.isolation import seccomp
from models.isolation.sandbox import kill

_SCRIPT = Path(__file__).with_name("referee_inside.py")
_START_S, _ANSWER_S = 60.0, 5.0
_LIMITS = {"RLIMIT_AS": 3 * 2**30, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
MAX_CHARS = 500

_COMMANDS = {
    "frac", "sqrt", "cdot", "times", "div", "pm", "mp", "le", "leq", "leqslant", "ge", "geq", "geqslant", "ne",
    "neq", "lt", "gt", "in", "notin", "cup", "cap", "setminus", "subset", "emptyset", "varnothing", "infty",
    "mathbb", "begin", "end", "lfloor", "rfloor", "lceil", "rceil", "binom", "text", "mathrm", "sin", "cos", "tan",
    "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log", "ln", "exp", "pi", "circ",
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
    "xi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega", "lvert", "rvert", "vert", "left", "right", "mid",
    "overline", "vec",
}  # fmt: skip
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_TEXT = re.compile(r"\\(?:text|mathrm|begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+")
_UNFIT = re.compile(r"[A-Za-z]{4}|(?i:nan|inf\b|oo\b)|\d\s*_|[^\x20-\x7e]")


def fit(text: str) -> bool:
    """Whether the text may be sent to the library: short, known commands, no words."""
    known = all(name in _COMMANDS for name in _COMMAND.findall(text))
    return (
        known and 0 < len(text) <= MAX_CHARS and not _UNFIT.search(_TEXT.sub(" ", text)) and "nan" not in text.lower()
    )


def readable(text: str) -> bool:
    """Whether math-verify can parse the text."""
    return fit(text) and _ask([text]) in ("0", "1")


def same(left: str, right: str) -> bool | None:
    """Whether two texts are equal by math-verify; None where it cannot tell, or not in time."""
    if not (fit(left) and fit(right)):
        return None
    return {"0": False, "1": True}.get(_ask([left, right]))


class _Process:
    """The confined process; answers one request at a time. Raises IsolationUnavailable where it cannot be confined."""

    def __init__(self) -> None:
        config = {"filter": seccomp.program().hex(), "limits": _LIMITS, "answer_s": _ANSWER_S + 1}
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(_SCRIPT), json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
            bufsize=0,
        )
        word = self.line(_START_S)
        if word != "ready":
            self.end()
            raise IsolationUnavailable(f"math-verify cannot be run in isolation here: {word or 'it did not start'}")

    def ask(self, texts: list[str]) -> str | None:
        """One answer; "" if the process has ended, None if no answer came in time."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(texts).encode() + b"\n")
        except OSError:
            return ""
        return self.line(_ANSWER_S)

    def line(self, seconds: float) -> str | None:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                return None
        return os.read(self.process.stdout.fileno(), 1_000).decode(errors="replace").strip()

    def end(self) -> None:
        kill(self.process)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


_lock = threading.Lock()
_process: _Process | None = None


def _ask(texts: list[str]) -> str:
    """The answer, or "" if there is none. A process that has died is replaced once."""
    global _process
    with _lock:
        if _process is not None and _process.owner != os.getpid():
            _process = None  # after a fork: the process is the parent's
        for _ in range(2):
            if _process is None:
                try:
                    _process = _Process()
                except IsolationUnavailable:
                    return ""
            answer = _process.ask(texts)
            if answer:
                return answer
            _process.end()
            _process = None
            if answer is None:
                break
        return ""


@atexit.register
def _end() -> None:
    if _process is not None and _process.owner == os.getpid():
        _process.end()
