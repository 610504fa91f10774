r"""Grader `math`: the final answer equals the reference mathematically (2(x+1) for 2x+2, \frac{\pi}{2} for pi/2).

The answer is the last \boxed{...}, else what follows "Answer:" or the last formula between dollar signs, else
the last line. Values in brackets are ordered, sets and bare lists are not; `x = 5` is read as `5`, `\pm 2` as two
values. Equations with more than a symbol on the left are equal when left side minus right side is the same for both, up
to a constant factor. 28% equals 0.28, and also 28 if only one of the two texts has a percent sign.
What `notation.py` cannot read (inequalities, unions, matrices ...) is compared by math-verify (`referee.py`).
"""

from __future__ import annotations

import math
import re

from models.errors import BadInput
from models.grading import referee
from models.grading.answer import final_answer
from models.grading.exact import normal
from models.grading.expression import Node, Refused, Unreadable, add, equal, multiply, negative, number, proportional
from models.grading.notation import MAX_CHARS, plain, read
from models.grading.question import Question
from models.grading.verdict import Options, Verdict, options_of

VERSION = "math/2"

MAX_ITEMS = 20

_FORMULA = re.compile(r"\$\$?([^$]+)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_NAME = re.compile(r"\s*\\?[A-Za-z]\w*(?:\([a-z]\))?\s*")
_ONE = r"\\?[A-Za-z]\w*(?:_\{\w{1,9}\})?(?:\([a-z]\))?"
_NAMES = re.compile(rf"[\s(]*{_ONE}(?:\s*[,:]\s*{_ONE})*[\s)]*")
_OR = re.compile(r"\\text\s*\{\s*(?:or|and)\s*\}|\b(?:or|and)\b|;")
_IS = re.compile(r"\b(?:is|are|equals)\b:?")
_PERCENT = re.compile(r"\s*(?:\\?%|(?:percent(?:age)?|pct)\b)")
_COMMAND = re.compile(r"\\(?:text|mathrm|operatorname)\s*\{[^{}]*\}|\\[A-Za-z]+")
_PROSE = re.compile(r"\b[A-Za-z]{3,}[^A-Za-z]{1,3}[A-Za-z]{2,}[^A-Za-z]{1,3}[A-Za-z]{2,}")  # three words
_NUMBER = re.compile(r"(?<![\w.,/^])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?(?:\s?%)?(?![\w^]*\d)")
_DECIMAL_COMMA = re.compile(r"[-+−–]?(?:0,\d+|\d+,\d{1,2})")
_NEARLY = re.compile(r"\\(?:approx|simeq|doteq)(?![A-Za-z])|[≈≃]")
_MEMBER = re.compile(r"\s*[A-Za-z]\s*\\in(?![A-Za-z])|\s*[A-Za-z]\s*∈")
_SIGNS = re.compile(r"\\(pm|mp)(?![A-Za-z])")
_UNIT = re.compile(
    r"(?<=[\d})])\s+(?:[a-z]{3,}|cm|mm|km|dm|kg|mg|ml|ft|in|mi|hr|ms|lb|oz|sq|cu)(?: [a-z]+)*(?:\^\{?[23]\}?)?\.?\s*$"
)
_RELATION = re.compile(r"(\\(?:leqslant|geqslant|leq?|geq?|lt|gt)(?![A-Za-z])|<=|>=|[<>≤≥])")
_TURNED = {"\\ge": "\\le", ">": "<"}
_SAME_SIGN = {
    "\\leqslant": "\\le", "\\leq": "\\le", "<=": "\\le", "≤": "\\le", "\\lt": "<",
    "\\geqslant": "\\ge", "\\geq": "\\ge", ">=": "\\ge", "≥": "\\ge", "\\gt": ">",
}  # fmt: skip
_CONSTANT = re.compile(
    r"\\mathbb\w|\\varnothing|[0-9A-F]+_\d+|(?:\\(?:text|mathrm|textbf)\s*\{[^{}]*[^\W\d_][^{}]*\}\s*)+"
)
_NO_VALUE = ("nan", "inf", "-inf", "+inf")
_OPEN, _CLOSE = "([{", ")]}"


def check(question: Question) -> None:
    """Raises BadInput when neither reader can parse the reference as mathematics."""
    options_of(Options, question.options)
    reference = _text_of(question)
    try:
        _items(reference)
    except Unreadable as error:
        known = _CONSTANT.fullmatch(_literal(reference)) or (not isinstance(error, Refused) and _readable(reference))
        if not known:
            raise BadInput(f"the reference is not a mathematical expression: {error}", "reference") from None


def grade(question: Question, reply: str) -> Verdict:
    """Score 1 when answer and reference are equal, else 0; the detail says how that was determined."""
    reference, answer = _text_of(question), answer_of(reply)
    if normal(answer) in _NO_VALUE:
        return Verdict(0.0, "no value")
    if normal(answer) == normal(reference) or _literal(answer) == _literal(reference):
        return Verdict(1.0, "literally")
    if not re.search("[A-Za-z]", reference):
        answer = _UNIT.sub("", answer) if _UNIT.search(answer) and not _OR.search(answer) else answer
    if _DECIMAL_COMMA.fullmatch(answer.strip()) and "," not in reference:
        answer = answer.replace(",", ".")
    try:
        wanted, found = _items(reference), _items(answer, equation=_is_equation(reference))
    except Refused as error:
        return Verdict(0.0, f"cannot read {answer[:60]!r}: {error}")
    except Unreadable as error:
        return _by_referee(reference, answer) or Verdict(0.0, f"cannot read {answer[:60]!r}: {error}")
    if ("%" in reference) != ("%" in answer) and len(found[1]) == len(wanted[1]) == 1:
        in_percent = multiply(found[1][0], number("0.01" if "%" in reference else "100"))
        if equal(in_percent, wanted[1][0])[0]:
            return Verdict(1.0, "as a percentage")
    if len(found[1]) != len(wanted[1]) or (len(wanted[1]) > 1 and found[0] != wanted[0]):
        return Verdict(0.0, "another number or kind of values")
    return _compare(found[1], wanted[1], ordered=bool(wanted[0]), signed=not _is_equation(reference))


def answer_of(reply: str) -> str:
    """The formula that a reply gives as its answer; in prose without a formula, its last number."""
    text = final_answer(reply)
    formulas = list(_FORMULA.finditer(text, max(0, len(text) - 10 * MAX_CHARS)))
    named = formulas and _NAME.fullmatch(_inside(formulas[-1])) and _NUMBER.search(text, formulas[-1].end())
    if formulas and not named:  # in "the largest $n$ is 34" the formula only names the value
        percent = _PERCENT.match(text, formulas[-1].end())
        return _inside(formulas[-1]).strip() + ("\\%" if percent else "")
    lines = [line for line in text.split("\n") if line.strip()]
    answer = _IS.split(lines[-1])[-1].strip("*` ") if lines else ""
    if _PROSE.search(_COMMAND.sub(" ", answer)):
        numbers = list(_NUMBER.finditer(answer[-10 * MAX_CHARS :]))
        return numbers[-1][0] if numbers else answer
    return answer


def _inside(formula: re.Match[str]) -> str:
    return next(part for part in formula.groups() if part is not None)


def _text_of(question: Question) -> str:
    """The reference as text. Raises BadInput for one that has no value."""
    reference = question.reference
    finite = not isinstance(reference, float) or math.isfinite(reference)
    if not isinstance(reference, str | int | float) or isinstance(reference, bool) or not finite:
        raise BadInput("math needs a formula or a finite number as reference", "reference")
    text = str(reference)
    if not text.strip() or normal(text) in _NO_VALUE:
        raise BadInput("the reference has no value", "reference")
    formula = _FORMULA.fullmatch(text.strip())
    return _inside(formula) if formula else text


def _readable(text: str) -> bool:
    return referee.readable(_oriented(plain(text)))


def _by_referee(reference: str, answer: str) -> Verdict | None:
    """math-verify's verdict, if any. It reduces an equation to its right side, so both or neither must be one."""
    wanted, found = _oriented(plain(reference)), _oriented(plain(answer))
    alone = any(_says_more(one) and "=" not in other for one, other in ((wanted, found), (found, wanted)))
    same = None if alone else referee.same(wanted, found)
    return None if same is None else Verdict(float(same), "by math-verify")


def _says_more(text: str) -> bool:
    """Whether a text is an equation whose left side is more than names for the values on the right."""
    left, sign, right = text.partition("=")
    return bool(sign) and "=" not in right and not _NAMES.fullmatch(left)


def _literal(text: str) -> str:
    """The text in one spelling: \\mathbb{R} as \\mathbb R, \\emptyset as \\varnothing."""
    text = re.sub(r"(\\[A-Za-z]+) +(?=[A-Za-z])", r"\1", plain(text)).replace("\\emptyset", "\\varnothing")
    return re.sub(r"\{(\w)\}", r"\1", text).strip().rstrip(".")


def _oriented(text: str) -> str:
    """Inequalities with one spelling of each sign, the smaller side first: 3 > x as x < 3."""
    parts = _RELATION.split(text)
    signs = [_SAME_SIGN.get(sign, sign) for sign in parts[1::2]]
    sides = parts[::2]
    if signs and all(sign in _TURNED for sign in signs):
        signs, sides = [_TURNED[sign] for sign in reversed(signs)], sides[::-1]
    return sides[0] + "".join(f" {sign} {side}" for sign, side in zip(signs, sides[1:], strict=True))


def _is_equation(text: str) -> bool:
    left, sign, _ = text.partition("=")
    return bool(sign) and not _NAME.fullmatch(left)


def _items(text: str, *, equation: bool | None = None) -> tuple[str, list[Node]]:
    """The brackets around a list ("" for none and for sets) and its expressions."""
    equation = _is_equation(text) if equation is None else equation
    text = plain(text[: MAX_ITEMS * MAX_CHARS]).rstrip(".").replace("\\{", "{").replace("\\}", "}").strip()
    text = _MEMBER.sub("", text, count=1).strip() if _MEMBER.match(text) else text
    brackets, parts = "", _split(_OR.sub(",", text))
    if len(parts) == 1 and text[:1] in tuple(_OPEN) and text[-1:] in tuple(_CLOSE):
        inner = _split(text[1:-1])
        if len(inner) > 1:
            brackets, parts = text[0] + text[-1], inner
    parts = [signed for part in parts for signed in _both_signs(part)]
    if len(parts) > MAX_ITEMS:
        raise Refused("too many values")
    return brackets.replace("{}", ""), [_side(part, equation=equation) for part in parts]


def _both_signs(text: str) -> list[str]:
    r"""The two texts, with + and with -, of a text with \pm; else the text itself."""
    if not _SIGNS.search(text):
        return [text]
    upper, lower = {"pm": "+", "mp": "-"}, {"pm": "-", "mp": "+"}
    return [_SIGNS.sub(lambda found: upper[found[1]], text), _SIGNS.sub(lambda found: lower[found[1]], text)]


def _split(text: str) -> list[str]:
    """Split at the commas outside of brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in _OPEN) - (character in _CLOSE)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _side(text: str, *, equation: bool) -> Node:
    nearly = _NEARLY.split(text)
    text = next((part for part in nearly if not _NAME.fullmatch(part)), text)  # of "1/3 ≈ 0.33" take 1/3
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
                same, how = proportional(node, candidate), "proportionally"
            if same:
                left.remove(candidate)
                break
        else:
            return Verdict(0.0, f"differs {how}")
    return Verdict(1.0, how)
