import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.grading.exact import normal
from models.grading.grade import grade


@pytest.mark.parametrize(
    "reply",
    [
        "Paris",
        "paris.",
        "  **Paris**\n",
        "Answer: Paris",
        "It lies on the Seine.\n\n**Answer:** `Paris`.",
        "Answer: Paris\n\nConfidence: 95%",
        "Answer: Paris\nRome would be wrong.",
        "Paris\n\nConfidence: high",
        "The answer is Paris.",
        "The final answer is: **Paris**",
        "**Final Answer**\n\nParis",
        "$\\boxed{\\text{Paris}}$",
        "\\boxed{Paris}",
        "«Paris»",
        "‘Paris’",
        "Ｐａｒｉｓ",
        "Par\u200bis",
        "answer: Rome? No.\nANSWER: “Paris”",
    ],
)
def test_case_space_emphasis_and_a_full_stop_do_not_count(ask, reply):
    assert grade(ask("exact", "Paris"), reply).score == 1


@pytest.mark.parametrize("reply", ["Rome", "Paris, Texas", "", "Answer: Paris\nAnswer: Rome"])
def test_another_text_is_wrong(ask, reply):
    assert grade(ask("exact", "Paris"), reply).score == 0


def test_case_counts_when_asked(ask):
    assert grade(ask("exact", "aB", case=True), "Answer: aB").score == 1
    assert grade(ask("exact", "aB", case=True), "Answer: ab").score == 0


def test_any_accepted_text_will_do(ask):
    assert grade(ask("exact", ["noon", "12:00"]), "Answer: 12:00").score == 1


def test_spellings_of_a_quote_a_hyphen_and_an_accent_are_one(ask):
    assert grade(ask("exact", "O'Brien"), "Answer: O’Brien").score == 1
    assert grade(ask("exact", "co-op"), "co‑op").score == 1
    assert grade(ask("exact", "Zoë"), "Zoe\u0308").score == 1
    assert grade(ask("exact", "x2"), "x²").score == 0


def test_an_answer_of_several_lines_is_the_whole_reply(ask):
    assert grade(ask("exact", "one\ntwo"), "one\ntwo").score == 1


@given(st.text(max_size=30))
def test_normal_form_is_a_fixed_point(text):
    assert normal(normal(text)) == normal(text)
