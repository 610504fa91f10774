import pytest

from models.errors import IsolationUnavailable
from models.grading.code import code_of, same
from models.grading.grade import check, grade
from models.isolation import sandbox, seccomp

pytestmark = pytest.mark.usefixtures("isolated")

ADD = {"entry": "add", "tests": [{"args": [1, 2], "expected": 3}, {"kwargs": {"a": -1, "b": 1}, "expected": 0}]}


def test_right_code_passes_and_the_detail_says_the_isolation(ask, isolated):
    verdict = grade(ask("code", **ADD), "Here:\n```python\ndef add(a, b):\n    return a + b\n```\nDone.")
    assert (verdict.score, verdict.detail) == (1.0, f"2/2 tests [{isolated}]")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return a - b", "returned -1"),
        ("return undefined", "NameError"),
        ("return {1, 2}", "TypeError"),
        ("return float('nan')", "ValueError"),
        ("return 10 ** 5000", "ValueError"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("import os; os._exit(0)", "no result (exit 0)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("return add(a, b)", "RecursionError"),
        ("syntax error", "no result (exit 1)"),
    ],
)
def test_wrong_code_fails_and_says_why(ask, body, why):
    verdict = grade(ask("code", **ADD), f"def add(a, b): {body}")
    assert verdict.score == 0 and why in verdict.detail


def test_programs_read_stdin_and_print(ask):
    tests = [{"stdin": "1 2\n", "stdout": "3"}, {"stdin": "5 6", "stdout": "11\n"}]
    program = "```py\na, b = map(int, input().split())\nprint(a + b, '')\n```"
    assert grade(ask("code", tests=tests), program).score == 1
    assert grade(ask("code", tests=tests), "print(3)").score == 0
    assert grade(ask("code", tests=tests[:1]), "print(3); raise SystemExit(1)").score == 0


def test_a_long_input_is_fed_while_output_is_read(ask):
    text = "x" * 300_000
    question = ask("code", tests=[{"stdin": text, "stdout": text}])
    assert grade(question, "import sys\nsys.stdout.write(sys.stdin.read())").score == 1


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("pass", "pass"),
        ("```python\na\n```\ntext\n```python\nb\n```\n```sh\nc\n```", "b"),
        ("```\na\n```", "a"),
        ("```python\ncut off", "cut off"),
        ("1. so\n   ```python\n   if x:\n       y\n   ```", "if x:\n    y"),
    ],
)
def test_the_last_python_fence_is_the_code(reply, code):
    assert code_of(reply) == code


@pytest.mark.parametrize(
    ("value", "expected", "equal"),
    [
        (1, 1.0, True),
        (0.1 + 0.2, 0.3, True),
        (True, 1, False),
        (1, True, False),
        ([1, [2]], [1, [2]], True),
        ([1], [1, 2], False),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"b": 1}, False),
        ("1", 1, False),
        (None, None, True),
        (10**400, 1.0, False),
        (None, 0.0, False),
    ],
)
def test_json_values_are_compared_strictly(value, expected, equal):
    assert same(value, expected) is equal


USUAL = {
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef f(a): return P(a).x",
    "future": "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    "@dataclass(slots=True, order=True)\nclass P:\n    x: int\ndef f(a): return P(a).x",
    "annotations": "class P:\n    x: int\ndef f(a): return a if P.__annotations__['x'] is int else 0",
    "pickle": "import pickle\nclass P: pass\ndef f(a):\n    p = P()\n    p.x = a\n"
    "    return pickle.loads(pickle.dumps(p)).x",
    "namedtuple": "from typing import NamedTuple\nclass P(NamedTuple):\n    x: int\ndef f(a): return P(a).x",
    "enum": "import enum\nclass E(enum.Enum):\n    A = 1\ndef f(a): return E(a).value",
    "hints": "import typing\nclass P:\n    x: 'int'\ndef f(a): return a * len(typing.get_type_hints(P))",
    "source": "import inspect\ndef f(a): return int('def f' in inspect.getsource(f))",
    "module": "import sys\ndef f(a): return a if sys.modules[__name__].f is f and __file__ else 0",
    "guard": "def f(a): return a\nif __name__ == '__main__':\n    print(int(input()))",
    "exit at its end": "def f(a): return a\nprint(f(1))\nexit()",
}
PROGRAMS = [
    "print(input())\nexit()",
    "print(input())\nquit(0)",
    "def main(): print(int(input()))\nif __name__ == '__main__': main()",
    "import pickle\nclass P: pass\np = P()\np.x = input()\nprint(pickle.loads(pickle.dumps(p)).x)",
    "import __main__\nx = input()\nprint(__main__.x)",
]


@pytest.mark.parametrize("name", USUAL)
def test_code_finds_itself_in_a_module_as_everywhere(ask, name):
    assert grade(ask("code", entry="f", tests=[{"args": [1], "expected": 1}]), USUAL[name]).score == 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_have_the_interpreters_usual_names(ask, program):
    assert grade(ask("code", tests=[{"stdin": "1\n", "stdout": "1"}]), program).score == 1


def test_an_exit_with_an_error_or_in_a_call_fails(ask):
    assert grade(ask("code", tests=[{"stdout": ""}]), "exit(1)").score == 0
    assert grade(ask("code", **ADD), "def add(a, b): exit()").score == 0
    assert grade(ask("code", **ADD), "exit()\ndef add(a, b): return a + b").score == 0


def test_without_isolation_nothing_runs(ask, monkeypatch, tmp_path):
    question = ask("code", **ADD)
    monkeypatch.setattr(seccomp.platform, "machine", lambda: "vax")
    check(question)
    with pytest.raises(IsolationUnavailable, match="vax"):
        grade(question, f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.undo()
    monkeypatch.setattr(seccomp, "program", lambda: b"\0" * 8)  # the kernel refuses it: no return
    with pytest.raises(IsolationUnavailable, match="isolation"):
        grade(question, "")
    monkeypatch.undo()
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    with pytest.raises(IsolationUnavailable, match="Linux"):
        grade(question, "")
    assert not (tmp_path / "ran").exists()
