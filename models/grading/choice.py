"""Grader `choice`: the final answer names the right option, by its letter or by its text.

`{"choices": ["Paris", "Rome"]}` are lettered A, B, ...; a mapping gives its own labels. The reference is a
label or an option's text. A reply that names two options, or none, is wrong.
"""

from __future__ import annotations

import re
from string import ascii_uppercase

from pydantic import Field

from models.errors import BadInput
from models.grading.exact import normal
from models.grading.question import Question
from models.grading.verdict import Options, Verdict, boxed, final_answer, has_marker, options_of

VERSION = "choice/1"


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
    """Raises BadInput for too many or equal options, a text that is another's label, no right option."""
    choices = _labelled(question)
    if len(choices) < len(question.options["choices"]):
        raise BadInput("more choices than letters, or equal labels", "options.choices")
    if len(set(choices.values())) < len(choices):
        raise BadInput("two choices have the same text", "options.choices")
    labels = {normal(label): text for label, text in choices.items()}
    if any(labels.get(text, text) != text for text in choices.values()):
        raise BadInput("a choice's text is the label of another", "options.choices")
    if _right(question, choices) is None:
        raise BadInput("the reference is none of the choices", "reference")


def chosen(reply: str, choices: dict[str, str]) -> str | None:
    """The label that the reply settles on, or None. `choices`: label to normalised text."""
    text = normal(boxed(final_answer(reply)), case=True)
    labels = "|".join(re.escape(label) for label in choices)
    whole = re.fullmatch(rf"(?:option |choice )?\(?({labels})\)?[.:]?", text, re.IGNORECASE)
    if whole:
        return _label(whole[1], choices)
    bare = text.casefold()
    for label, option in choices.items():
        if bare == option:
            return label
    if not has_marker(reply):  # in prose only a label as it was given: "the answer is a whale" names none
        said = re.findall(rf"(?:answer is|[Oo]ption|[Cc]hoice)\s+\(?\**({labels})\b|\(({labels})\)", text)
        if said:
            return str(said[-1][0] or said[-1][1])
    led = re.match(rf"(?:option |choice )?(?:\(({labels})\)|({labels})[).:])(?!\w)", text, re.IGNORECASE)
    if led:
        return _label(led[1] or led[2], choices)
    named = [label for label, option in choices.items() if re.search(rf"(?<!\w){re.escape(option)}(?!\w)", bare)]
    return named[0] if len(named) == 1 else None


def _label(found: str, choices: dict[str, str]) -> str | None:
    # No label: letters that a search without case takes for equal need not fold alike (a dotless i and I).
    return next((label for label in choices if label.casefold() == found.casefold()), None)


def grade(question: Question, reply: str) -> Verdict:
    """1 when the reply settles on the right option, else 0."""
    choices = _labelled(question)
    answer = chosen(reply, choices)
    if answer is None:
        return Verdict(0.0, "no single option named")
    return Verdict(float(answer == _right(question, choices)), f"chose {answer}")
