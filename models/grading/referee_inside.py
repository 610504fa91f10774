"""Script inside the referee: it confines its own process, then compares pairs of LaTeX texts by math-verify.

Started by `referee.py`. The library is loaded before the restrictions apply: after that, files cannot be written, and
processes and sockets cannot be made. Only math-verify's LaTeX grammar is used; its parser of plain expressions
evaluates text as Python.

Protocol: argv[1] holds JSON {filter, limits, answer_s}. The script first writes `ready` or `refused REASON` to stdout.
To each line of JSON [left, right] on stdin it answers with a line: 1 (equal) or 0, or `unreadable` where one of them
cannot be parsed; [text] only checks that the text can be parsed. It ends at the end of its input, and by itself when an
answer takes longer than `answer_s`: its parent may no longer exist to kill it.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import resource
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

ROUNDING = 12  # digits to which inexact numbers are compared


def main() -> None:
    config = json.loads(sys.argv[1])
    out = os.dup(1)
    os.dup2(2, 1)  # what the libraries print must not be taken for an answer
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    from math_verify import LatexExtractionConfig, parse, verify

    target = [LatexExtractionConfig()]

    def reading(text: str) -> Any:
        return parse(f"${text}$", target, fallback_mode="no_fallback", parsing_timeout=None)

    def same(texts: list[str]) -> str:
        readings = [reading(text) for text in texts]
        if not all(readings):
            return "unreadable"
        left, right = readings[0], readings[-1]
        if "nan" in str(left) + str(right):
            return "unreadable"
        equal = verify(left, right, float_rounding=ROUNDING, allow_set_relation_comp=True, timeout_seconds=None)
        return str(int(equal))

    same(["x \\le \\frac{1}{2}", "(1, 2]"])  # loads the modules that are imported lazily
    try:
        confined(config)
    except (OSError, AttributeError) as error:
        os.write(out, f"refused {error}\n".encode())
        return
    os.write(out, b"ready\n")
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_REAL, config["answer_s"])  # SIGALRM's default action also ends code in C
        try:
            answer = same(json.loads(line))
        except Exception:  # the libraries may fail in any way on unusual text
            answer = "unreadable"
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.write(out, f"{answer}\n".encode())


def confined(config: dict[str, Any]) -> None:
    """Apply the restrictions: a memory limit, no privileges, no writing of files, the sandbox's system calls only."""
    found = importlib.util.spec_from_file_location("confine", Path(__file__).parents[1] / "isolation" / "confine.py")
    assert found is not None and found.loader is not None
    confine = importlib.util.module_from_spec(found)
    found.loader.exec_module(confine)
    for name, value in config["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    confine.checked(confine.LIBC.prctl(confine.NO_NEW_PRIVS, 1, 0, 0, 0))
    installed = [path for path in sys.path if path.startswith((sys.prefix, sys.base_prefix))]
    readable = [path for path in (*installed, *confine.LIBRARIES) if os.path.isdir(path)]
    confine.landlock(readable, None)
    confine.seccomp(bytes.fromhex(config["filter"]))


if __name__ == "__main__":
    main()
