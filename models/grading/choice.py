"""Grader `choice`: the final answer names the right option, by its letter or by its text.

The options in `{"choices": ["Paris", "Rome"]}` are labelled A, B, ...; a mapping sets its own labels. The reference is
a label or an option's text. A reply that names two options, or none, is wrong.
"""

from __future__ import annotations

import re
from string import ascii_uppercase

from pydantic import Field

from models.errors import BadInput
from models.grading.answer import graded_part, marked_answer
from models.grading.exact import normal
from models.grading.question import Question
from models.grading.verdict import Options, Verdict, options_of

VERSION = "choice/2"

_MAX_CHARS = 20_000
_WRAPPED = re.compile(
    r"\\(?:text|math|operatorname|boldsymbol|mbox|emph)[a-z]{0,2}\s*\{([^{}]*)\}|\${1,2}([^$\n]{1,200})\${1,2}"
)
_EMPHASIS = re.compile(r"\*+|__|`|\\[()\[\]]|\\(?:left|right)(?![a-z])|\\[,;! ]")
_SPACES = re.compile(r"\s+")
_SAYS = (
    r"[Aa]nswer\s+(?:is|must be|would be|should be|[-–—])|(?:is|be)\s+(?:therefore|thus)"
    r"|\b(?:[Cc]hoose|[Pp]ick|[Ss]elect|[Tt]ake|[Gg]o with|[Cc]hose|[Cc]hoosing)"
    r"|(?:correct|right|best)\s+(?:answer|option|choice|one)\s*(?:is|:|=)"
)
_REASON = r"(?:because|since|as|for|and|which|is|but|so|due|given|would|was)\b"
_NOT = r"(?:\bnot|n['’]t|\bneither|\bnor|\bnever|\brather than|\binstead of|\bunlike|\bexcept)"
_WRONG = r"(?:not\b|wrong|incorrect|false|ruled out|eliminated|excluded|out\b|n['’]t)"


class ChoiceOptions(Options):
    """`choices`: the options' texts in order, or label to text."""

    choices: dict[str, str] | list[str] = Field(min_length=2)


def _labelled(question: Question) -> dict[str, str]:
    """Label to normalised text."""
    choices = options_of(ChoiceOptions, question.options).choices
    if isinstance(choices, list):
        choices = dict(zip(ascii_uppercase, choices, strict=False))
    return {label.strip(): normal(text) for label, text in choices.items()}


def _right(question: Question, choices: dict[str, str]) -> str | None:
    reference = normal(str(question.reference))
    return next((label for label, text in choices.items() if reference in (normal(label), text)), None)


def check(question: Question) -> None:
    """Raises BadInput for too many or equal options, a text that is another's label, or a reference that is none."""
    choices = _labelled(question)
    if len(choices) < len(question.options["choices"]):
        raise BadInput("more choices than letters, or equal labels", "options.choices")
    if len(set(choices.values())) < len(choices):
        raise BadInput("two choices have the same text", "options.choices")
    labels = {normal(label): text for label, text in choices.items()}
    if any(labels.get(text, text) != text for text in choices.values()):
        raise BadInput("a choice's text is the label of another choice", "options.choices")
    if _right(question, choices) is None:
        raise BadInput("the reference is not one of the choices", "reference")


def chosen(reply: str, choices: dict[str, str]) -> str | None:
    """The label that the reply chooses, or None. `choices`: label to normalised text."""
    marked = marked_answer(reply)
    text = _unwrapped((graded_part(reply) if marked is None else marked)[-_MAX_CHARS:])
    found = _whole(text, choices)
    if found is None and _names_several(text, choices):
        return None
    if found is None:
        text = _without_denials(text, choices)
        found = _begun(text, choices) if marked is not None else _in_prose(text, choices)
    return found or _named(text, choices)


def _unwrapped(text: str) -> str:
    r"""The text without emphasis and LaTeX around words: \text{B}, $B$, **B**."""
    for _ in range(3):
        text = _WRAPPED.sub(lambda found: found[1] or found[2], text)
    return _SPACES.sub(lambda found: "\n" if "\n" in found[0] else " ", _EMPHASIS.sub("", text)).strip(" \t\n\"'“”‘’<>")


def _labels(choices: dict[str, str]) -> str:
    return "|".join(re.escape(label) for label in sorted(choices, key=len, reverse=True))


def _whole(text: str, choices: dict[str, str]) -> str | None:
    """The label of the option, if the text is nothing but a label or an option's text."""
    found = re.fullmatch(
        rf"(?:option |choice |answer )?[(\[{{]?({_labels(choices)})[)\]}}]?[.:,;!)]?", text, re.IGNORECASE
    )
    if found:
        return _label(found[1], choices)
    bare = normal(text)
    return next((label for label, option in choices.items() if bare == option), None)


def _names_several(text: str, choices: dict[str, str]) -> bool:
    """Whether the text begins with two labels: "A or B", "(A), (B)"."""
    one = rf"[(\[]?(?:{_labels(choices)})[)\]]?"
    return re.match(rf"{one}\s*(?:,|/|&|\band\b|\bor\b)+\s*{one}(?![\w.)])", text) is not None


def _begun(text: str, choices: dict[str, str]) -> str | None:
    """The label with which the text begins: "(B) Rome", "B. Rome", "B because ..."; the "A" of "A shark" is none."""
    labels = _labels(choices)
    found = re.match(rf"(?:option |choice )?(?:[(\[{{]({labels})[)\]}}]|({labels})[).:,;])(?!\w)", text, re.IGNORECASE)
    if found:
        return _label(found[1] or found[2], choices)
    bare = normal(text)
    longest = max(
        (option for option in choices.values() if re.match(rf"{re.escape(option)}(?!\w)", bare)), key=len, default=""
    )
    if longest:
        return next(label for label, option in choices.items() if option == longest)
    found = re.match(rf"(?:[Oo]ption |[Cc]hoice )?({labels})(?=\s+{_REASON}|\s*[-–—=(\n]|$)", text)
    return str(found[1]) if found else None


def _in_prose(text: str, choices: dict[str, str]) -> str | None:
    """The label in a text without a marker: "the answer is B", else a line with a choice only, else the last "(B)"."""
    labels = _labels(choices)
    ends = rf"(?![\w'’])(?!\s(?!{_REASON})\w)"  # "A shark" does not name option A
    verdicts = re.findall(
        rf"(?:{_SAYS})\s+(?:(?:that|clearly|therefore|be|[Oo]ption|[Cc]hoice|but)\s+)*[(\[]?({labels}){ends}"
        rf"|(?:[Oo]ption |[Cc]hoice |[(])({labels})\)?\s+(?:is|must be|would be)\s+(?:the\s+)?"
        r"(?:correct|right|best|answer)"
        rf"|(?i:answer\s+is\s+\(?({labels})\)?[.!]?\s*(?:\n|$))",
        text,
    )
    if verdicts:
        return _label("".join(verdicts[-1]), choices)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    for line in (lines[-1:] + lines[:1]) if len(lines) > 1 else []:
        label = _whole(line, choices) or _headed(line, choices)
        if label:
            return label
    said = re.findall(rf"(?:[Oo]ption|[Cc]hoice)\s+[(]?({labels})\b|[(\[]({labels})[)\]]", text)
    if said:
        return str(said[-1][0] or said[-1][1])
    found = re.match(rf"({labels})[).:](?!\w)", text, re.IGNORECASE)
    return _label(found[1], choices) if found else None


def _headed(line: str, choices: dict[str, str]) -> str | None:
    """The label of a line that holds a label and the same option's text: "B) Rome."."""
    found = re.fullmatch(rf"[(\[]?({_labels(choices)})[)\].:]+\s*(.+)", line, re.IGNORECASE)
    label = found and _label(found[1], choices)
    return label if found and label and normal(found[2]) == choices[label] else None


def _without_denials(text: str, choices: dict[str, str]) -> str:
    """The text without mentions of options that it rules out: "not A", "B is wrong"."""
    names = "|".join((_labels(choices), *sorted(map(re.escape, choices.values()), key=len, reverse=True)))
    text = re.sub(
        rf"{_NOT}\s+(?:be\s+|is\s+|the\s+)?(?:option\s+|choice\s+)?[(]?(?:{names})(?!\w)\)?",
        " ",
        text,
        flags=re.IGNORECASE,
    )
    ruled = rf"(?:option\s+|choice\s+)?[(]?(?<!\w)(?:{names})\)?\s+(?:is|was|are|would be|cannot be|can be)\s+{_WRONG}"
    return re.sub(ruled, " ", text, flags=re.IGNORECASE)


def _named(text: str, choices: dict[str, str]) -> str | None:
    """The label of the only option whose text the reply contains, or None."""
    bare = normal(text)
    named = [label for label, option in choices.items() if re.search(rf"(?<!\w){re.escape(option)}(?!\w)", bare)]
    return named[0] if len(named) == 1 else None


def _label(found: str, choices: dict[str, str]) -> str | None:
    # May be none: letters that match without regard to case need not have the same casefold (a dotless i and I).
    return next((label for label in choices if label.casefold() == found.casefold()), None)


def grade(question: Question, reply: str) -> Verdict:
    """Score 1 when the reply chooses the right option, else 0."""
    choices = _labelled(question)
    answer = chosen(reply, choices)
    if answer is None:
        return Verdict(0.0, "no single option named")
    return Verdict(float(answer == _right(question, choices)), f"chose {answer}")
