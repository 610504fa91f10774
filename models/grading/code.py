"""Grader `code`: the reply's Python passes every test, run in a sandbox.

`{"entry": "f", "tests": [{"args": [1, 2], "expected": 3}, ...]}` calls a function;
`{"tests": [{"stdin": "1 2", "stdout": "3"}, ...]}` runs a program per test. The code is the last ```python
fence, else the last fence, else the whole reply. The code gets inputs only; its results are compared in this process,
as plain JSON values, so that neither its output nor its objects' `__eq__` can change the verdict.
"""

from __future__ import annotations

import json
import math
import textwrap
from typing import Any

from pydantic import Field

from models.errors import BadInput
from models.grading.answer import MAX_REPLY_CHARS
from models.grading.question import Question
from models.grading.verdict import Options, Verdict, options_of
from models.isolation import sandbox

VERSION = "code/2"

isolation = sandbox.isolation


class CallTest(Options):
    """One call and the JSON value that it must return (floats to 1e-9)."""

    args: list[Any] = Field(default_factory=list)
    kwargs: dict[str, Any] = Field(default_factory=dict)
    expected: Any


class ProgramTest(Options):
    """The program's stdin and the stdout that it must print (white space at line ends is ignored)."""

    stdin: str = ""
    stdout: str


class CodeOptions(Options):
    """Options of the grader `code`; limits are per run. `entry`: the function to call; none: run the whole program."""

    entry: str | None = None
    tests: list[CallTest] | list[ProgramTest] = Field(min_length=1)
    cpu_s: float = Field(default=5.0, gt=0, le=300)
    wall_s: float = Field(default=10.0, gt=0, le=600)
    memory_mb: int = Field(default=512, ge=64, le=8192)

    @property
    def limits(self) -> sandbox.Limits:
        return sandbox.Limits(cpu_s=self.cpu_s, wall_s=self.wall_s, memory_bytes=self.memory_mb * 2**20)


def check(question: Question) -> None:
    """Raises BadInput when tests are missing or of the wrong kind for `entry`."""
    options = options_of(CodeOptions, question.options)
    if (options.entry is not None) != isinstance(options.tests[0], CallTest):
        raise BadInput("tests with args and expected need entry, those with stdin and stdout none", "options.entry")


def code_of(reply: str) -> str:
    """Extract the Python code from a reply."""
    blocks: list[tuple[str, list[str]]] = []
    inside = False
    for line in reply[-MAX_REPLY_CHARS:].split("\n"):
        if line.lstrip().startswith("```"):
            inside = not inside
            if inside:
                blocks.append((line.strip(" \t\r`").lower(), []))
        elif inside:
            blocks[-1][1].append(line)
    python = [block for block in blocks if block[0] in ("python", "py", "python3")]
    chosen = python or blocks
    return textwrap.dedent("\n".join(chosen[-1][1])) if chosen else reply


def grade(question: Question, reply: str) -> Verdict:
    """Score 1 when every test passes, else 0; the detail has the isolation level. Raises IsolationUnavailable."""
    check(question)
    options = options_of(CodeOptions, question.options)
    code = code_of(reply)
    if options.entry is not None:
        failures, level = _calls(code, options)
    else:
        failures, level = _programs(code, options)
    total, wrong = len(options.tests), sum(1 for failure in failures if failure)
    first = next((f"; test {index}: {why}" for index, why in enumerate(failures) if why), "")
    return Verdict(float(wrong == 0), f"{total - wrong}/{total} tests{first} [{level}]")


def _calls(code: str, options: CodeOptions) -> tuple[list[str], str]:
    """The reason why each test failed, or "", and the isolation level. All calls run in one process."""
    tests = [test for test in options.tests if isinstance(test, CallTest)]
    calls = [{"args": test.args, "kwargs": test.kwargs} for test in tests]
    done = sandbox.run({"code": code, "entry": options.entry, "calls": calls}, limits=options.limits)
    lines: list[bytes | None] = [*done.output.split(b"\n")[:-1]]
    lines += [None] * (len(tests) - len(lines))
    return [_wrong(line, test.expected, done.ended) for line, test in zip(lines, tests, strict=False)], done.level


def _wrong(line: bytes | None, expected: Any, ended: str) -> str:
    if line is None:
        return f"no result ({ended})"
    try:
        answer = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return "not a JSON value"
    if not isinstance(answer, dict) or "value" not in answer:
        return str(answer.get("error") if isinstance(answer, dict) else None)[:200]
    return "" if same(answer["value"], expected) else f"returned {json.dumps(answer['value'])[:80]}"


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def same(value: Any, expected: Any) -> bool:
    """Whether two JSON values are equal; true differs from 1, 1 equals 1.0, floats are compared to 1e-9."""
    if isinstance(expected, list):
        return isinstance(value, list) and len(value) == len(expected) and all(map(same, value, expected))
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(same(value[key], expected[key]) for key in expected)
        )
    if isinstance(expected, float) and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-9)
        except OverflowError:
            return False
    return isinstance(value, bool) == isinstance(expected, bool) and bool(value == expected)


def _programs(code: str, options: CodeOptions) -> tuple[list[str], str]:
    failures, level = [], ""
    for test in options.tests:
        assert isinstance(test, ProgramTest)
        job: dict[str, Any] = {"code": code, "entry": None, "calls": []}
        done = sandbox.run(job, test.stdin.encode(), options.limits)
        level = done.level
        printed = done.output.decode(errors="replace")
        right = done.ended == "exit 0" and _trimmed(printed) == _trimmed(test.stdout)
        failures.append("" if right else f"{done.ended}, printed {printed[:80]!r}")
    return failures, level


def _trimmed(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]
