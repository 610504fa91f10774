"""Does the plan parser take any completion, and does its time grow with the text alone?

100,000 completions, most of them damaged, and texts made to be slow at 1, 2 and 4 MB, beside what one would write
first: a regular expression for the names, brackets counted, `ast.literal_eval` or `json.loads` for the lists. The
rival's time is taken at sizes that it ends at.
"""

from __future__ import annotations

import ast
import json
import re
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

from reporting import report
from spelling import completion

from models.conductor.plan.workflow import Malformed, Workflow, parse

COMPLETIONS = 100_000
RUNS = 3
SIZES = (1_000_000, 2_000_000, 4_000_000)
RIVAL_SIZES = (8_000, 16_000, 32_000)

SLOW = {  # (what stands before, what is repeated)
    "names": ("", "model_id = ["),
    "plans": ("", 'model_id = [0]\nsubtasks = ["a"]\naccess_list = [[]]\n'),
    "full lists": ("", "subtasks = [" + "'a'," * 64 + "]\n"),
    "lists without end": ("", "subtasks = [" + "'a'," * 65 + "\n"),
    "texts without end": ("", "subtasks = ['"),
    "texts without end, in lines": ("", "subtasks = ['\n"),
    "every quote without end": ("", "subtasks = ['xsubtasks = [\"xsubtasks = [“xsubtasks = [‘xsubtasks = [«x"),
    "triple quotes without end": ("", "subtasks = ['''xsubtasks = [\"\"\"x"),
    "brackets": ("access_list = ", "["),
    "backslashes": ("subtasks = ['", "\\"),
    "escapes": ("model_id = [0] access_list = [[]] subtasks = ['", "\\u0041"),
    "apostrophes": ("subtasks = ['", "' x"),
    "blanks after quotes": ("subtasks = ['", "'" + " " * 1000),
    "lines in a text": ("subtasks = ['", "\n"),
    "blank lines in a text": ("subtasks = ['", "\n" + " " * 1000),
    "texts in a row": ("subtasks = [", "'a'\n"),
    "quotes": ("subtasks = [", "'"),
    "comments": ("model_id = [", "#\n"),
    "blanks": ("", "model_id" + " " * 1000),
    "blanks and fences": ("model_id = ", "\n`"),
    "types": ("", "model_id: list" + "[" * 70),
    "digits": ("model_id = [", "9"),
    "prose": ("", "The model writes some subtle words to access it. "),
}
ENDS = {"escapes": "']"}


def slow(name: str, size: int) -> str:
    before, unit = SLOW[name]
    return before + unit * (size // len(unit)) + ENDS.get(name, "")


def rival(text: str) -> Workflow | Malformed:
    """The last list of each name, wherever it stands."""
    lists = {}
    for name in ("model_id", "subtasks", "access_list"):
        found: list[Any] = []
        for start in re.finditer(rf"{name}[\"'*`]*\s*[=:]\s*\[", text):
            depth = 0
            for end in range(start.end() - 1, len(text)):
                depth += {"[": 1, "]": -1}.get(text[end], 0)
                if depth == 0:
                    found += _evaluated(text[start.end() - 1 : end + 1])
                    break
        if not found:
            return Malformed(f"no {name}")
        lists[name] = found[-1]
    models, subtasks, access = lists.values()
    if not len(models) == len(subtasks) == len(access):
        return Malformed("lengths")
    rows = [
        {"model": model, "subtask": subtask, "access": "all" if seen in ("all", ["all"]) else tuple(seen or ())}
        for model, subtask, seen in zip(models, subtasks, access, strict=True)
    ]
    return Workflow.model_validate({"steps": rows})


def _evaluated(text: str) -> list[Any]:
    for read in (ast.literal_eval, json.loads):
        try:
            return [read(text)]
        except (ValueError, SyntaxError):
            continue
    return []


def tried(parser: Callable[[str], Workflow | Malformed]) -> tuple[int, float]:
    """How often the parser raises, or returns what cannot be stored; the share of undamaged plans that it reads."""
    crashes = read = whole = 0
    for seed in range(COMPLETIONS):
        text, plan = completion(seed)
        try:
            found = parser(text)
            if isinstance(found, Workflow):
                found.model_dump_json().encode()
            else:
                found.reason.encode()
        except Exception:
            crashes, found = crashes + 1, Malformed("crash")
        if plan is not None:
            whole += 1
            read += found == plan
    return crashes, read / whole


def seconds_per_megabyte(parser: Callable[[str], object], name: str, size: int) -> float:
    """Of processor time, which other processes do not lengthen."""
    text = slow(name, size)
    seconds = []
    for _ in range(RUNS):
        started = time.process_time()
        parser(text)
        seconds.append(time.process_time() - started)
    return statistics.median(seconds) * 1e6 / len(text)


def grown(parser: Callable[[str], object], sizes: tuple[int, ...]) -> tuple[float, float]:
    """The worst seconds per megabyte at any size; the worst growth of that figure from the first size to the last."""
    worst = growth = 0.0
    for name in SLOW:
        rates = [seconds_per_megabyte(parser, name, size) for size in sizes]
        print(f"{name}: {', '.join(f'{rate:.3f}' for rate in rates)} s/MB at {', '.join(map(str, sizes))} characters")
        worst, growth = max(worst, *rates), max(growth, rates[-1] / rates[0])
    return worst, growth


def main() -> None:
    warnings.simplefilter("ignore", SyntaxWarning)  # the rival compiles damaged texts
    crashes, read = tried(parse)
    rival_crashes, rival_read = tried(rival)
    worst, growth = grown(lambda text: parse(text, max_chars=SIZES[-1] + 100), SIZES)
    print("the rival:")
    rival_worst, rival_growth = grown(rival, RIVAL_SIZES)
    figures = {
        "crashes": crashes,
        "seconds_per_megabyte": round(worst, 3),
        "growth_1_to_4_mb": round(growth, 2),
        "plans_read": read,
        "rival_crashes": rival_crashes,
        "rival_seconds_per_megabyte": round(rival_worst, 3),
        "rival_growth_8_to_32_kb": round(rival_growth, 2),
        "rival_plans_read": round(rival_read, 4),
    }
    bounds = {
        "crashes": ("==", 0),
        "seconds_per_megabyte": ("<=", 2.0),
        "growth_1_to_4_mb": ("<=", 1.5),
        "plans_read": (">=", 1.0),
    }
    report("parse", figures, bounds)


if __name__ == "__main__":
    main()
