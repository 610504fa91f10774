import pytest

from models.errors import IsolationUnavailable
from models.grading import sandbox, seccomp
from models.grading.code import code_of, same
from models.grading.grade import check, grade

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
