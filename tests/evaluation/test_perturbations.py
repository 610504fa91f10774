"""Perturbed questions keep what they ask, are changed in the same way each time, and are the same few for everybody."""

from __future__ import annotations

from random import Random

import pytest

from models.evaluation.perturbations import (
    EVERY,
    KINDS,
    OPENINGS,
    REWORDING,
    SUFFIX,
    SUFFIXES,
    TYPO,
    perturbed,
    sampled,
)

TEXT = "A train leaves at noon with 17 passengers. It calls at 3 stations. Calculate how many minutes are left, please?"


def asked(text: str) -> list[dict]:
    return [{"role": "system", "content": "Be terse."}, {"role": "user", "content": text}]


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_last_question_is_changed_and_always_in_the_same_way(kind):
    given = asked(TEXT)
    first = perturbed(given, kind)
    assert first == perturbed(asked(TEXT), kind) and given == asked(TEXT)
    assert first[0] == given[0] and first[1]["role"] == "user" and first[1]["content"] != TEXT


def test_typos_swap_letters_inside_few_words_and_touch_no_number():
    [_, changed] = perturbed(asked(TEXT), TYPO)
    before, after = TEXT.split(), changed["content"].split()
    different = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    long = [word for word in before if sum(map(str.isalpha, word)) >= 4]
    assert 1 <= len(different) <= -(-len(long) // EVERY)
    for a, b in different:
        assert sorted(a) == sorted(b) and a[0] == b[0] and sum(x != y for x, y in zip(a, b, strict=True)) == 2
    assert perturbed(asked("2 + 2 = ?"), TYPO)[1]["content"] == "2 + 2 = ?"


def test_a_suffix_is_added_and_nothing_else():
    text = perturbed(asked(TEXT), SUFFIX)[1]["content"]
    assert text.startswith(TEXT) and text[len(TEXT) + 1 :] in SUFFIXES


def test_rules_reword_instructions_and_put_the_question_first():
    text = perturbed(asked(TEXT), REWORDING)[1]["content"]
    opening = next(each for each in OPENINGS if text.startswith(each))
    assert text.removeprefix(f"{opening} ").startswith("Compute how many minutes are left, please? A train leaves")
    code = "Write a function.\ndef f(x):\n    return x\nWhat does it give?"
    assert perturbed(asked(code), REWORDING)[1]["content"].endswith(
        "Compose a function.\ndef f(x):\n    return x\nWhat does it provide?"
    )


def test_content_in_parts_and_conversations_without_text_are_taken():
    parts = [{"type": "text", "text": "Look at this."}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    [changed] = perturbed([{"role": "user", "content": parts}], SUFFIX)
    assert changed["content"][0]["text"].startswith("Look at this. ") and changed["content"][1] == parts[1]
    assert parts[0]["text"] == "Look at this."
    picture = [{"role": "user", "content": parts[1:]}]
    assert list(perturbed(picture, TYPO)) == picture
    told = [{"role": "assistant", "content": "Good morning, everybody."}]
    assert perturbed(told, SUFFIX)[0]["content"] != told[0]["content"]


def test_the_same_questions_are_chosen_in_any_order():
    names = [f"question {number}" for number in range(500)]
    chosen = {names[at] for at in sampled(names, 40)}
    other = names[:]
    Random(1).shuffle(other)
    assert {other[at] for at in sampled(other, 40)} == chosen and len(chosen) == 40
    assert list(sampled(names[:7], 40)) == list(range(7))
