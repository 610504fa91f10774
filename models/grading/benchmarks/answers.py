"""Benchmarks whose answer is a number, an expression or a few words: GSM8K, MATH, AIME, RLPR."""

from __future__ import annotations

import re
from collections.abc import Mapping

from models.grading.benchmarks.row import LeftOut, Made, Row

BOXED = "Put the final answer in \\boxed{}."
_PLAIN = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
_FORMULA = re.compile(r"[\\^_={}/*]|\d\s*[-+]\s*\d")


def gsm8k(row: Row) -> Made:
    """The number after `####` in the worked answer."""
    _, marker, last = row.text("answer").rpartition("####")
    number = last.strip().replace(",", "")
    if not marker or not _PLAIN.fullmatch(number):
        raise LeftOut("whose answer has no number after ####")
    return Made(row.text("question"), "number", float(number) if "." in number else int(number))


def expression(row: Row) -> Made:
    """MATH's form: a problem and a LaTeX answer."""
    tags = tuple(f"level-{level}" for level in [row.value("level")] if isinstance(level, int | str) and str(level))
    return Made(f"{row.text('question')}\n\n{BOXED}", "math", row.text("answer"), tags=tags)


def whole_number(row: Row) -> Made:
    """AIME's form: a problem and an integer from 0 to 999."""
    answer = row.text("answer")
    if not answer.isdecimal():
        raise LeftOut("whose answer is no whole number")
    return Made(f"{row.text('question')}\n\n{BOXED}", "number", int(answer))


def short_answer(row: Row) -> Made:
    """RLPR's form: messages, and the truth inside `reward_model`. A plain number is graded as a number, what looks like
    a formula as mathematics, other words literally: stricter than the paper's probability reward."""
    messages, model = row.value("messages"), row.value("truth")
    said = [each for each in messages if each.get("role") == "user"] if isinstance(messages, list) else []
    truth = model.get("ground_truth") if isinstance(model, Mapping) else model
    if not said or not isinstance(said[-1].get("content"), str) or not isinstance(truth, str) or not truth.strip():
        raise LeftOut("without a user's message or a truth")
    truth, text = truth.strip(), said[-1]["content"]
    number = truth.replace(",", "")
    if _PLAIN.fullmatch(number):
        return Made(text, "number", float(number) if "." in number else int(number), tags=row.tags)
    return Made(text, "math" if _FORMULA.search(truth) else "exact", truth, tags=row.tags)
