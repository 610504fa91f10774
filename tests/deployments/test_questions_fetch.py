"""`fugu questions fetch`: each benchmark of the catalogue becomes questions that its grader takes, from a folder in the
hub's form; what is wrong is one line, and nothing is half-written."""

from __future__ import annotations

import base64
import csv
import http.server
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from models.files import read_yaml
from models.grading.grade import check, grade
from models.grading.question import Question, load_questions
from tasks.setup.settings import PROJECT

CATALOGUE = PROJECT / "data" / "catalog.yaml"


@pytest.fixture(autouse=True)
def home(cli_home: Path) -> Path:
    return cli_home


def put(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """A file of the folder, in the kind that its name says."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


GPQA = {
    "Record ID": "rec1",
    "Question": "Which particle?",
    "Correct Answer": "muon",
    "Incorrect Answer 1": "electron",
    "Incorrect Answer 2": "tau",
    "Incorrect Answer 3": "proton",
    "High-level domain": "Physics",
}


def packed(cases: list[dict[str, str]]) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


def contest(id: str, cases: list[dict[str, str]], private: str, **more: Any) -> dict[str, Any]:
    return {
        "question_title": id,
        "question_content": "Add the numbers.",
        "platform": "atcoder",
        "question_id": id,
        "starter_code": "",
        "public_test_cases": json.dumps(cases),
        "private_test_cases": private,
        "metadata": "{}",
        **more,
    }


SUMS = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]
MORE = [{"input": "4 5\n", "output": "9\n", "testtype": "stdin"}]
METHOD = [{"input": '[1, 2]\n"ab"', "output": "3", "testtype": "functional"}]
SHOWN = "class Solution:\n    def total(self, numbers: List[int], name: str) -> int:\n        "
PLUS = """
import numpy as np
def assertion(out, exp, atol):
    assert out == exp
def check(candidate):
    inputs = [[1, [2]], [3, [4, 5]]]
    results = [3, 12]
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 0)
"""
TUPLES = "inputs = [[(1, 2)]]\nresults = [3]\nfor inp, exp in zip(inputs, results):\n    assertion(add(*inp), exp, 0)\n"
MBPP = TUPLES.replace("[(1, 2)]", "[[1, 2]]").replace("[3]", "[(3, 4)]")
UNIT = "import unittest\nclass TestCases(unittest.TestCase):\n    def test(self):\n        assert task_func(2) == 4\n"
BIG = {
    "task_id": "BigCodeBench/1",
    "complete_prompt": "def task_func(n):",
    "instruct_prompt": "Double n. You should write self-contained code starting with: def task_func(n):",
    "code_prompt": "import math\ndef task_func(n):",
    "test": UNIT,
    "entry_point": "task_func",
    "libs": "['math']",
}
CALL = {"name": "forecast", "arguments": {"city": "Lima", "club_id": None}}

SETS: dict[str, dict[str, list[dict[str, Any]]]] = {
    "gsm8k": {
        "main/train-00000-of-00001.parquet": [{"question": "2 + 2?", "answer": "It is <<2+2=4>>4.\n#### 4"}],
        "main/test-00000-of-00001.parquet": [
            {"question": "Dear?", "answer": "So\n#### 1,250"},
            {"question": "Odd", "answer": "none"},
        ],
    },
    "math500": {
        "test.jsonl": [
            {"problem": "Half?", "solution": "...", "answer": "\\frac{1}{2}", "subject": "Algebra", "level": 2,
             "unique_id": "test/algebra/1.json"},
        ],
    },
    "aime2025": {"test.jsonl": [{"problem": "Sum?", "answer": "070", "id": "0"}]},
    "mmlu": {
        "all/auxiliary_train-00000-of-00001.parquet": [
            {"question": "Sky?", "subject": "", "choices": ["red", "blue", "green", "grey"], "answer": 1}
        ],
        "all/validation-00000-of-00001.parquet": [
            {"question": "Twice?", "subject": "logic", "choices": ["a b", "a b", "c", "d"], "answer": 2}
        ],
        "all/test-00000-of-00001.parquet": [
            {"question": "Leaf?", "subject": "anatomy", "choices": ["red", "blue", "green", "grey"], "answer": 2}
        ],
    },
    "mmlu-pro": {
        "data/test-00000-of-00001.parquet": [
            {"question_id": 70, "question": "Adverts?", "options": ["one", "two", "N/A", "three"], "answer": "D",
             "answer_index": 3, "category": "business"}
        ],
    },
    "gpqa-diamond": {"gpqa_diamond.csv": [GPQA]},
    "rlpr": {
        "rlpr_train.parquet": [
            {"prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": f"Question {n}?"}],
             "reward_model": {"ground_truth": truth, "style": "rule"}, "ability": "physics"}
            for n, truth in enumerate(["2.5", "\\sqrt{2}", "an oxide"])
        ],
    },
    "livecodebench": {
        "test.jsonl": [contest("abc1", SUMS, packed(MORE))],
        "test6.jsonl": [
            contest("lc2", METHOD, "[]", metadata='{"func_name": "total"}', starter_code=SHOWN),
            contest("bad", SUMS, base64.b64encode(zlib.compress(pickle.dumps(Path))).decode()),
        ],
    },
    "humaneval-plus": {
        "data/test-00000-of-00001-5973903632b82d40.parquet": [
            {"task_id": "HumanEval/0", "prompt": "def weigh(a, b):\n", "entry_point": "weigh", "test": PLUS,
             "canonical_solution": ""},
            {"task_id": "HumanEval/2", "prompt": "def part(a):\n", "entry_point": "part", "canonical_solution": "",
             "test": PLUS.replace("exp, 0)", "exp, 1e-06)")},
        ],
    },
    "mbpp-plus": {
        "data/test-00000-of-00001-d5781c9c51e02795.parquet": [
            {"task_id": 2, "prompt": "Add them.", "test_list": ["assert add([1, 2]) == (3, 4)"], "test": MBPP},
            {"task_id": 3, "prompt": "Add them.", "test_list": ["assert add((1, 2)) == 3"], "test": TUPLES},
        ],
    },
    "bigcodebench": {
        "data/v0.1.4-00000-of-00001.parquet": [
            BIG,
            BIG | {"task_id": "BigCodeBench/2", "libs": "['pandas', 'math']"},
        ],
    },
    "toolscale": {
        "data/train-00000-of-00001.parquet": [
            {"id": "10315", "description": {"purpose": ""},
             "user_scenario": {"persona": None, "instructions": {"task_instructions": "Will it rain in Lima?",
                               "known_info": "Tomorrow.", "domain": "weather"}},
             "evaluation_criteria": {"actions": [CALL]}},
        ],
    },
}  # fmt: skip

RIGHT: dict[str, list[str]] = {  # a reply to each question that is kept, which its grader finds right
    "gsm8k": ["4", "The answer is 1250."],
    "math500": ["\\boxed{0.5}"],
    "aime2025": ["\\boxed{70}"],
    "mmlu": ["B", "C"],
    "mmlu-pro": ["C"],
    "gpqa-diamond": ["muon"],
    "rlpr": ["2.5", "\\boxed{\\sqrt2}", "An oxide."],
    "livecodebench": [
        "```python\nprint(sum(map(int, input().split())))\n```",
        "def total(n, name):\n    return sum(n)",
    ],
    "humaneval-plus": ["def weigh(a, b):\n    return {1: 3, 3: 12}[a]"],
    "mbpp-plus": ["def add(a):\n    return (3, 4)"],
    "bigcodebench": ["### solution.py\n```python\ndef task_func(n):\n    return 2 * n\n```"],
    "toolscale": [json.dumps([{"name": "forecast", "arguments": {"city": "lima"}}])],
}
LEFT_OUT = {
    "gsm8k": "1 rows are left out whose answer has no number",
    "mmlu": "1 rows are left out that the grader 'choice' refuses",
    "livecodebench": "1 rows are left out whose private tests cannot be unpacked",
    "humaneval-plus": "1 rows are left out that allow an absolute error",
    "mbpp-plus": "1 rows are left out whose arguments or results are no JSON values",
    "bigcodebench": "1 rows are left out that need libraries",
}


def laid(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / "hub" / name
    for file, rows in SETS[name].items():
        put(folder, file, rows)
    return folder


def test_every_benchmark_of_the_catalogue_is_tried_here_or_runs_elsewhere() -> None:
    entries = read_yaml(CATALOGUE).value["benchmarks"]
    assert {name for name, entry in entries.items() if "harness" not in entry} == SETS.keys() == RIGHT.keys()


@pytest.mark.parametrize("name", SETS)
def test_a_benchmark_becomes_questions_whose_right_answers_are_right(
    run, home: Path, tmp_path: Path, name: str
) -> None:
    status, out, err = run("questions", "fetch", name, "--from", str(laid(tmp_path, name)))
    assert status == 0, err
    questions = load_questions(home / "benchmarks" / f"{name}.jsonl")
    assert f"{len(questions)} questions (" in out
    assert LEFT_OUT.get(name, "questions") in out
    assert len(questions) == len(RIGHT[name])
    for question, reply in zip(questions, RIGHT[name], strict=True):
        check(question)
        assert question.id.startswith(f"{name}-")
        if name == "gpqa-diamond":
            assert "muon" not in reply or question.options["choices"].index("muon") == "ABCD".index(question.reference)
        if question.grader not in ("code", "command"):
            assert grade(question, reply).score == 1, (question, reply)
            assert grade(question, "I do not know 99999").score == 0


@pytest.mark.parametrize("name", ["livecodebench", "humaneval-plus", "mbpp-plus", "bigcodebench"])
def test_code_that_is_right_passes_the_dataset_s_tests(run, home: Path, tmp_path: Path, name: str, readable) -> None:
    assert run("questions", "fetch", name, "--from", str(laid(tmp_path, name)))[0] == 0
    for question, reply in zip(load_questions(home / "benchmarks" / f"{name}.jsonl"), RIGHT[name], strict=True):
        assert grade(question, reply).score == 1, grade(question, reply)
        assert grade(question, re.sub(r"(return |print\()", r"\g<1>not ", reply)).score == 0


def test_options_keep_their_letters_whatever_is_fetched(run, home: Path, tmp_path: Path) -> None:
    rows = [GPQA | {"Record ID": f"rec{n}", "Question": f"Question {n}?"} for n in range(30)]
    put(tmp_path / "whole", "gpqa_diamond.csv", rows)
    put(tmp_path / "part", "gpqa_diamond.csv", rows[::-3])

    def fetched(*options: str) -> dict[str, Question]:
        assert run("questions", "fetch", "gpqa-diamond", *options)[0] == 0
        return {question.id: question for question in load_questions(home / "benchmarks" / "gpqa-diamond.jsonl")}

    whole, part = fetched("--from", str(tmp_path / "whole")), fetched("--from", str(tmp_path / "part"))
    few = fetched("--from", str(tmp_path / "whole"), "--limit", "7")
    assert len(whole) == 30 and len(part) == 10 and len(few) == 7
    assert all(whole[id] == question for id, question in (part | few).items())
    assert {question.reference for question in whole.values()} == set("ABCD")


def test_the_tests_of_livecodebench_are_all_there_and_nothing_of_them_is_asked(run, home: Path, tmp_path: Path) -> None:
    assert run("questions", "fetch", "livecodebench", "--from", str(laid(tmp_path, "livecodebench")))[0] == 0
    program, method = load_questions(home / "benchmarks" / "livecodebench.jsonl")
    assert [test["stdin"] for test in program.options["tests"]] == ["1 2\n", "4 5\n"]
    assert method.options == {"entry": "total", "tests": [{"args": [[1, 2], "ab"], "expected": 3}]}
    assert "4 5" not in program.messages[0]["content"]
    assert (program.split, method.split) == ("train", "test")


@pytest.mark.parametrize("mix", ["trinity", "conductor"])
def test_a_mix_has_the_shares_of_its_paper(run, home: Path, tmp_path: Path, mix: str) -> None:
    for name in ("math500", "mmlu", "rlpr", "livecodebench"):
        laid(tmp_path, name)
    problems = [{"problem": f"{n} + 1?", "answer": str(n + 1), "unique_id": f"p{n}"} for n in range(500)]
    put(tmp_path / "hub" / "math500", "test.jsonl", problems)
    status, out, err = run("questions", "fetch", mix, "--from", str(tmp_path / "hub"))
    assert status == 0, err
    questions = load_questions(home / "benchmarks" / f"{mix}.jsonl")
    counts = {split: sum(q.task == "math500" and q.split == split for q in questions) for split in ("train", "test")}
    assert counts == ({"train": 300, "test": 100} if mix == "trinity" else {"train": 240, "test": 0})
    assert len({question.id for question in questions}) == len(questions)
    assert "rlpr: 2 questions of split 'train', not 46620" in out or mix == "conductor"
    assert {question.task for question in questions} == {"math500", "mmlu", "rlpr", "livecodebench"}


def one_line(err: str) -> str:
    assert err.startswith("fugu: ") and err.count("\n") == 1, err
    return err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"loader": "gsm9k"}, "unknown loader 'gsm9k'"),
        ({"columns": {"question": "question"}}, "needs a column for answer"),
        ({"columns": {"question": "question", "answer": "answer", "hue": "x"}}, "no use for a column hue"),
        ({"columns": {"question": "question", "answer": "solution"}}, "no column 'solution'"),
        ({"revision": "main"}, "revision"),
        ({"files": {}}, "hub and files"),
        ({"files": {"exam": ["x"]}}, "files.exam"),
        ({"licence": None}, "licence"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_entry_of_the_catalogue_is_one_line(
    run, home: Path, tmp_path: Path, monkeypatch, change: dict[str, Any], says: str
) -> None:
    catalogue = read_yaml(CATALOGUE).value
    catalogue["benchmarks"]["gsm8k"] |= change
    data = tmp_path / "data"
    data.mkdir()
    (data / "catalog.yaml").write_text(json.dumps(catalogue, indent=1))
    monkeypatch.setenv("FUGU_DATA", str(data))
    status, _, err = run("questions", "fetch", "gsm8k", "--from", str(laid(tmp_path, "gsm8k")))
    assert status == 2 and says in one_line(err)
    assert not (home / "benchmarks").exists()


def test_what_cannot_be_fetched_is_one_line(run, home: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    put(tmp_path / "hollow", "test.jsonl", [])
    (tmp_path / "broken" / "main").mkdir(parents=True)
    (tmp_path / "broken" / "main" / "train-0.parquet").write_bytes(b"PAR1 no")
    put(tmp_path / "useless", "test.jsonl", [{"problem": 1, "answer": None}])
    for words, says in (
        (["gsm9k"], "no benchmark or mix 'gsm9k'; there are gsm8k"),
        (["gsm8k", "--from", str(tmp_path / "empty")], "no file of gsm8k"),
        (["gsm8k", "--from", str(tmp_path / "none")], "is no folder"),
        (["math500", "--from", str(tmp_path / "hollow")], "test.jsonl: is empty"),
        (["gsm8k", "--from", str(tmp_path / "broken")], "cannot be read as parquet"),
        (["math500", "--from", str(tmp_path / "useless")], "no question came of math500"),
        (["swe-bench-pro"], "runs through its own harness"),
        (["terminal-bench"], "harbor run -d terminal-bench@2.0"),
        (["trinity", "--from", str(tmp_path / "empty")], "no file of math500"),
    ):
        status, _, err = run("questions", "fetch", *words)
        assert status == 2 and says in one_line(err), (words, err)
    status, _, err = run(
        "questions", "fetch", "aime2025", "--from", str(laid(tmp_path, "aime2025")), "--to", str(tmp_path)
    )
    assert status == 2 and "cannot be written" in one_line(err)
    assert not (home / "benchmarks").exists()


class _Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does for one dataset, whose files are there, or gated."""

    gated = False
    folder = Path()
    COMMIT = "a" * 40

    def do_GET(self) -> None:
        files = sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        if self.path.startswith("/api/datasets/"):
            if "/nobody/" in self.path:
                return self._say(404, {"error": "not found"}, {"X-Error-Code": "RepoNotFound"})
            siblings = [{"rfilename": name} for name in files]
            return self._say(200, {"id": "x/y", "sha": self.COMMIT, "siblings": siblings, "tags": []}, {})
        name = self.path.partition(f"/resolve/{self.COMMIT}/")[2]
        if self.gated:
            return self._say(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        content = (self.folder / name).read_bytes()
        self.send_response(200)
        for key, value in {"ETag": f'"{len(content)}"', "X-Repo-Commit": self.COMMIT}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def _say(self, status: int, value: dict[str, Any], headers: dict[str, str]) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        for key, each in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, each)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, type[_Hub]]]:
    """A hub of its own, with the files of GSM8K."""
    handler = type("Hub", (_Hub,), {"folder": laid(tmp_path, "gsm8k")})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def fugu(home: Path, endpoint: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: the hub's client reads its address when it is imported."""
    env = {**os.environ, "FUGU_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HOME": str(home.parent / "hf")}
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        env.pop(name, None)
    line = [sys.executable, "-c", "from deployments.cli import main; main()", "questions", "fetch", *words]
    return subprocess.run(line, env=env | {"NO_PROXY": "*"}, capture_output=True, text=True, cwd=PROJECT)


@pytest.mark.programs
def test_files_are_fetched_at_one_commit_which_is_said(home: Path, hub: tuple[str, type[_Hub]]) -> None:
    done = fugu(home, hub[0], "gsm8k")
    assert done.returncode == 0, done.stderr
    assert f"commit {_Hub.COMMIT} of openai/gsm8k" in done.stdout
    assert len(load_questions(home / "benchmarks" / "gsm8k.jsonl")) == 2


@pytest.mark.programs
def test_a_gated_set_a_missing_file_and_no_network_are_one_line(home: Path, hub: tuple[str, type[_Hub]]) -> None:
    endpoint, handler = hub
    assert "has no file 'main/train-*" in one_line(_refused(home, endpoint, handler, missing=True))
    handler.gated = True
    assert "gated: accept its terms at https://huggingface.co/datasets/openai/gsm8k" in one_line(
        _refused(home, endpoint, handler)
    )
    assert "cannot be fetched from http://127.0.0.1:9" in one_line(_refused(home, "http://127.0.0.1:9", handler))
    assert not (home / "benchmarks").exists()


def _refused(home: Path, endpoint: str, handler: type[_Hub], *, missing: bool = False) -> str:
    if missing:
        shutil.move(handler.folder / "main", handler.folder / "other")
    done = fugu(home, endpoint, "gsm8k")
    if missing:
        shutil.move(handler.folder / "other", handler.folder / "main")
    assert done.returncode == 2, done.stdout
    return done.stderr
