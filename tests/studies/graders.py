"""Does the grader `math` agree with hand-labelled pairs, and does math-verify alone?

Each pair is a reference, a reply and whether the reply is right. They are read at measuring time from Python files that
hold them as literals, (reference, reply, 0 or 1), such as the tests of math-verify's source distribution, or from JSONL
files with `reference`, `reply` and `score`; with `--own` from this project's tests. Nothing is downloaded:

    pip download --no-deps --no-binary :all: math-verify==0.9.0 -d DIR
    python tests/studies/graders.py DIR/math_verify-0.9.0/tests

Rows that the grader misjudges are printed with `--failures`. math-verify is used as its documentation says: both texts
through its whole extraction, plain expressions included, so only on files that are trusted.
"""

from __future__ import annotations

import argparse
import ast
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from math_verify import parse, verify

from models.errors import BadInput
from models.grading.answer import marked_answer
from models.grading.grade import check, grade
from models.grading.question import Question

Row = tuple[str, str, int]
OWN = Path(__file__).parents[1] / "grading" / "test_same_mathematics.py"


def rows_of(path: Path) -> Iterator[Row]:
    """The labelled pairs of a file."""
    if path.suffix == ".jsonl":
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row.get("grader", "math") == "math":
                yield str(row["reference"]), row["reply"], int(row["score"])
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Tuple | ast.List) and len(node.elts) >= 3:
            row = [element.value if isinstance(element, ast.Constant) else None for element in node.elts[:3]]
            if isinstance(row[0], str) and isinstance(row[1], str) and row[2] in (0, 1) and row[2] is not None:
                yield row[0], row[1], int(row[2])


def ours(reference: str, reply: str) -> Any:
    """The score, or why the question is refused."""
    text = marked_answer(reference) if "\\boxed" in reference else reference
    messages = ({"role": "user", "content": "?"},)
    question = Question(id="q", task="t", messages=messages, grader="math", reference=text)
    try:
        check(question)
    except BadInput as error:
        return f"refused: {error}"
    return int(grade(question, reply).score)


def theirs(reference: str, reply: str) -> Any:
    """math-verify's own verdict."""
    told = any(mark in reference for mark in ("$", "\\boxed", "\\(", "\\["))
    reference = reference if told else f"${reference}$"
    return int(verify(parse(reference), parse(reply)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--own", action="store_true")
    parser.add_argument("--failures", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    files = [file for path in given.paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    for file in [*files, *([OWN] if given.own else [])]:
        rows = list(dict.fromkeys(rows_of(file)))
        if file == OWN:
            rows = [(reference, f"\\boxed{{{reply}}}", score) for reference, reply, score in rows]
        if not rows:
            continue
        verdicts = [(ours(*row[:2]), theirs(*row[:2])) for row in rows]
        agree = [sum(verdict[which] == row[2] for verdict, row in zip(verdicts, rows, strict=True)) for which in (0, 1)]
        refused = sum(isinstance(verdict[0], str) for verdict in verdicts)
        lenient = [
            sum(v[which] == 1 and row[2] == 0 for v, row in zip(verdicts, rows, strict=True)) for which in (0, 1)
        ]
        for (mine, other), (reference, reply, score) in zip(verdicts, rows, strict=True):
            if given.failures and mine != score:
                print(json.dumps([score, mine, other, reference[-200:], reply[-200:]], ensure_ascii=False))
        figures = {"n": len(rows), "grader": agree[0], "math_verify": agree[1], "refused": refused}
        print(json.dumps({"file": file.name} | figures | {"wrong_called_right": lenient}))


if __name__ == "__main__":
    main()
