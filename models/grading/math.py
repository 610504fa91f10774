r"""Grader `math`: the final answer is the reference in another form (2(x+1) for 2x+2, \frac{\pi}{2} for pi/2).

The answer is the last \boxed{...}, else what follows "Answer:" or the last formula between dollar signs, else
the last line. Values in brackets are ordered, sets and bare lists are not; `x = 5` is read as `5`; equations
with more than a symbol on the left are equal when their two sides differ by the same, up to sign.
"""

from __future__ import annotations

import re

from models.errors import BadInput
from models.grading.answer import final_answer
from models.grading.exact import normal
from models.grading.expression import Node, Unreadable, add, equal, negative
from models.grading.notation import MAX_CHARS, read
from models.grading.question import Question
from models.grading.verdict import Options, Verdict, options_of

VERSION = "math/1"

MAX_ITEMS = 20

_FORMULA = re.compile(r"\$\$?([^$]+)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_NAME = re.compile(r"\s*\\?[A-Za-z]\w*(?:\([a-z]\))?\s*")
_OR = re.compile(r"\\text\s*\{\s*(?:or|and)\s*\}|\b(?:or|and)\b|;")
_IS = re.compile(r"\b(?:is|are|equals)\b:?")
_OPEN, _CLOSE = "([{", ")]}"


def check(question: Question) -> None:
    """Raises BadInput when the reference cannot be read as mathematics."""
    options_of(Options, question.options)
    _reference(question)


def grade(question: Question, reply: str) -> Verdict:
    """1 when answer and reference are equal, else 0; the detail says how that was found."""
    answer, reference = answer_of(reply), str(question.reference)
    if normal(answer) == normal(reference):
        return Verdict(1.0, "literally")
    wanted_brackets, wanted = _reference(question)
    try:
        brackets, found = _items(answer, equation=_is_equation(reference))
    except Unreadable as error:
        return Verdict(0.0, f"cannot read {answer[:60]!r}: {error}")
    if len(found) != len(wanted) or (len(wanted) > 1 and brackets != wanted_brackets):
        return Verdict(0.0, "another number or kind of values")
    return _compare(found, wanted, ordered=bool(brackets), signed=not _is_equation(reference))


def answer_of(reply: str) -> str:
    """The formula that a reply settles on."""
    text = final_answer(reply)
    formulas = _FORMULA.findall(text[-10 * MAX_CHARS :])
    if formulas:
        return next(part for part in formulas[-1] if part).strip()
    lines = [line for line in text.split("\n") if line.strip()]
    return _IS.split(lines[-1])[-1].strip("*` ") if lines else ""


def _reference(question: Question) -> tuple[str, list[Node]]:
    text = str(question.reference)
    try:
        return _items(text, equation=_is_equation(text))
    except Unreadable as error:
        raise BadInput(f"the reference is no expression: {error}", "reference") from None


def _is_equation(text: str) -> bool:
    left, sign, _ = text.partition("=")
    return bool(sign) and not _NAME.fullmatch(left)


def _items(text: str, *, equation: bool) -> tuple[str, list[Node]]:
    """The brackets around a list ("" for none and for sets) and its expressions."""
    text = text[: MAX_ITEMS * MAX_CHARS].strip().rstrip(".").replace("\\{", "{").replace("\\}", "}")
    text = re.sub(r"\\(?:left|right)(?![A-Za-z])", "", text).strip()
    brackets, parts = "", _split(_OR.sub(",", text))
    if len(parts) == 1 and text[:1] in tuple(_OPEN) and text[-1:] in tuple(_CLOSE):
        inner = _split(text[1:-1])
        if len(inner) > 1:
            brackets, parts = text[0] + text[-1], inner
    if len(parts) > MAX_ITEMS:
        raise Unreadable("too many values")
    return brackets.replace("{}", ""), [_side(part, equation=equation) for part in parts]


def _split(text: str) -> list[str]:
    """Cut at the commas outside of brackets, but for those that group thousands in a lone number."""
    if re.fullmatch(r"\s*[-+]?\d{1,3}(,\d{3})+(\.\d+)?\s*", text):
        return [text]
    parts, depth = [""], 0
    for character in text.replace("{,}", ""):
        depth += (character in _OPEN) - (character in _CLOSE)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _side(text: str, *, equation: bool) -> Node:
    sides = text.split("=")
    if equation and len(sides) == 2:
        return add(read(sides[0]), negative(read(sides[1])))
    value = read(sides[-1])
    if all(_NAME.fullmatch(side) or equal(read(side), value)[0] for side in sides[:-1]):
        return value
    raise Unreadable("an equation")


def _compare(found: list[Node], wanted: list[Node], *, ordered: bool, signed: bool) -> Verdict:
    left, how = list(wanted), ""
    for node in found:
        for candidate in left[:1] if ordered else left:
            same, how = equal(node, candidate)
            if not same and not signed:
                same, how = equal(negative(node), candidate)
            if same:
                left.remove(candidate)
                break
        else:
            return Verdict(0.0, f"differs {how}")
    return Verdict(1.0, how)
