"""The grader `command`: 1 where the repository passes, and nothing an agent leaves behind makes it pass."""

from pathlib import Path

import pytest

import models
from models.errors import BadFile, BadInput
from models.grading.command import CommandOptions, edits_of, judge, merged
from models.grading.grade import check, grade, needs_sandbox, version
from models.grading.repository import load_task, load_tasks
from models.isolation import workshop

SHIPPED = Path(models.__file__).parents[1] / "data" / "repositories"

HIDDEN = """import unittest
from add import add

class Adding(unittest.TestCase):
    def test(self):
        self.assertEqual(add(1, 2), 3)
"""
STATUS = {
    "files": {"add.py": "def add(a, b):\n    return a - b\n", "README": "sums"},
    "command": ["python3", "-m", "unittest", "-v", "test_add"],
    "hidden": {"test_add.py": HIDDEN},
    "prints": r"Ran 1 test[^$]*OK",
}
CASES = {
    "files": {"add.py": "import sys\nprint(int(sys.argv[1]) - int(sys.stdin.read()))\n"},
    "command": ["python3", "add.py"],
    "cases": [{"args": ["1"], "stdin": "2", "stdout": "3"}, {"args": ["4711"], "stdin": "1", "stdout": "4712\n"}],
}
RIGHT = "### add.py\n```python\ndef add(a, b):\n    return a + b\n```"


@pytest.fixture(autouse=True)
def _isolated(workshops):
    pass


def test_a_right_reply_is_1_and_a_wrong_one_0(ask, workshops):
    question = ask("command", **STATUS)
    assert grade(question, RIGHT).score == 1 and workshops in grade(question, RIGHT).detail
    assert grade(question, RIGHT.replace("+", "*")).score == 0
    assert grade(question, "I would use a plus sign.").detail == "the reply changes no file"
    assert version("command") == "command/1" and needs_sandbox("command")


def test_cases_compare_what_the_program_prints(ask):
    question = ask("command", **CASES)
    program = CASES["files"]["add.py"]
    assert grade(question, f"### add.py\n```\n{program.replace('-', '+')}```").score == 1
    assert "0/2 cases" in grade(question, f"### add.py\n```\n{program}```").detail
    assert "1/2 cases" in grade(question, "### add.py\n```\nprint(3)\n```").detail
    failing = program.replace("-", "+") + "raise SystemExit(1)\n"
    assert grade(question, f"### add.py\n```\n{failing}```").score == 0


TAMPERINGS = {
    "the verifying file is overwritten": {"test_add.py": "print('Ran 1 test OK')"},
    "a folder stands in its place": {"test_add.py/__init__.py": "", "test_add/__init__.py": "import os; os._exit(0)"},
    "the test runner is shadowed": {"unittest/__init__.py": "", "unittest/__main__.py": "print('Ran 1 test OK')"},
    "the interpreter is told to run something first": {"sitecustomize.py": "import os; os._exit(0)"},
    "the code ends the run early": {"add.py": "import os\nos._exit(0)"},
    "the code ends the run early, politely": {"add.py": "raise SystemExit(0)"},
    "the code waits for better times": {"add.py": "import time\ntime.sleep(60)"},
    "everything is gone": None,
}


@pytest.mark.parametrize("left", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_no_tampering_is_a_pass(left):
    options = CommandOptions.model_validate({**STATUS, "editable": ["add.py"], "wall_s": 3})
    own = {path: text.encode() for path, text in options.files.items()}
    files = {} if left is None else own | {path: text.encode() for path, text in left.items()}
    assert judge(options, files).score == 0
    assert merged(options, files)["test_add.py"] == HIDDEN.encode()


FORGERIES = [
    "print(3)",
    "import os\nfor root, _, names in os.walk('/room'):\n    for n in names: print(open(os.path.join(root, n)).read())",
    "import os\nos.write(1, b'exit 0')\nos._exit(0)",
    "import gc, sys\nprint([o for o in gc.get_objects() if '4712' in repr(o)][:1])",
]


@pytest.mark.parametrize("program", FORGERIES)
def test_expected_output_is_nowhere_in_the_workshop(program):
    options = CommandOptions.model_validate(CASES)
    assert judge(options, {"add.py": program.encode()}).score == 0


def test_what_is_hidden_is_nowhere_also_below_a_folder_of_the_systems(tmp_path, monkeypatch):
    answer = tmp_path / "tasks" / "one" / "hidden" / "cases.yaml"
    answer.parent.mkdir(parents=True)
    answer.write_text("3")
    tmp_path.chmod(0o755)
    monkeypatch.setattr(workshop, "SYSTEM", (*workshop.SYSTEM, str(tmp_path)))
    options = CommandOptions.model_validate(CASES | {"cases": [{"stdout": "3"}]})
    files = {"add.py": f"print(open({str(answer)!r}).read())".encode()}
    assert judge(options, files).score == 1
    assert judge(options, files, hides=[tmp_path / "tasks"]).score == 0


def test_an_endless_loop_is_stopped_by_processor_time():
    options = CommandOptions.model_validate({**STATUS, "cpu_s": 1, "wall_s": 8})
    assert "killed by signal" in judge(options, {"add.py": b"while True: pass"}).detail


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"command": []}, "options.command"),
        ({"files": {}}, "options.files"),
        ({"files": {"../x": ""}}, "files"),
        ({"hidden": {"/x": ""}}, "files"),
        ({"prints": "("}, "options.prints"),
        ({"cases": [{"stdout": ""}]}, "options.prints"),
        ({"typo": 1}, "options.typo"),
    ],
)
def test_bad_options_are_named(ask, change, field):
    with pytest.raises(BadInput) as caught:
        check(ask("command", **{**STATUS, **change}))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("reply", "files"),
    [
        ("### a/b.py\n```python\nx\n```", {"a/b.py": "x\n"}),
        ("**a.py**:\n\n```\nx\ny\n```\nand `b.txt`\n~~~\nz\n~~~", {"a.py": "x\ny\n", "b.txt": "z\n"}),
        ("```python a.py\nx\n```", {"a.py": "x\n"}),
        ("### a.py\n````\n```\ninner\n```\n````", {"a.py": "```\ninner\n```\n"}),
        ("### a.py\n```\nold\n```\n### a.py\n```\nnew\n```", {"a.py": "new\n"}),
        ("### Makefile\n```\nall:\n```", {"Makefile": "all:\n"}),
        ("### ../a.py\n```\nx\n```\n### /a.py\n```\nx\n```", {}),
        ("Like this:\n```python\nx\n```", {}),
        ("### a.py\n```\ncut off", {}),
        ("Move a.py to b.py:\n```\nx\n```", {}),
    ],
)
def test_a_replys_files_are_its_named_blocks(reply, files):
    assert edits_of(reply, {"Makefile"}) == files


@pytest.mark.parametrize("task", load_tasks(SHIPPED), ids=lambda task: task.id)
def test_a_shipped_repository_fails_as_it_is(task):
    assert judge(task.options, {path: text.encode() for path, text in task.options.files.items()}).score == 0
    assert task.check and task.instruction in task.question.messages[0]["content"]
    assert not set(task.options.hidden) & set(task.options.files)


def test_there_are_five_and_both_parts_have_some():
    tasks = load_tasks(SHIPPED)
    assert len(tasks) == 5 and {task.question.split for task in tasks} == {"train", "validation"}


def test_a_task_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(BadFile, match="holds no task"):
        load_tasks(tmp_path)
    folder = tmp_path / "one"
    (folder / "repository").mkdir(parents=True)
    file = folder / "task.yaml"
    for text, message in (
        ("id: x\ninstruction: y\nverify: {}", r"verify\.command"),
        ("id: [", "task.yaml:1: not YAML"),
        ("id: x\ninstruction: y\nverify: {command: [a]}", "files"),
    ):
        file.write_text(text)
        with pytest.raises(BadFile, match=message):
            load_task(folder)
    (folder / "repository" / "a.bin").write_bytes(b"\xff\xfe")
    with pytest.raises(BadFile, match="are text"):
        load_task(folder)
