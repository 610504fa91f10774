import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.grading.choice import chosen
from models.grading.grade import grade

CHOICES = ["a whale", "a shark", "a bat", "an owl"]


@pytest.mark.parametrize(
    "reply",
    [
        "B",
        "(b)",
        "B.",
        "Answer: B",
        "**Answer:** (B) a shark",
        "B) a shark",
        "Answer: a shark",
        "A shark.",
        "Option B",
        "I think the answer is B because it has gills.",
        "Whales breathe air, so it is \\boxed{B}",
        "(A) breathes air, so I take (B).",
        "It must be a shark, of course",
    ],
)
def test_the_right_option_is_recognised_by_letter_and_by_text(ask, reply):
    assert grade(ask("choice", "B", choices=CHOICES), reply).score == 1
    assert grade(ask("choice", "a shark", choices=CHOICES), reply).score == 1


@pytest.mark.parametrize(
    "reply", ["", "A", "a bat", "a shark or a whale", "The answer is a mystery", "E", "Answer: AB"]
)
def test_another_option_two_options_or_none_are_wrong(ask, reply):
    assert grade(ask("choice", "B", choices=CHOICES), reply).score == 0


def test_labels_may_be_given(ask):
    question = ask("choice", "ii", choices={"i": "red", "ii": "blue"})
    assert grade(question, "Answer: ii").score == 1
    assert grade(question, "Answer: red").score == 0


@given(st.sampled_from("ABCD"), st.sampled_from(["{}", "({})", "{}.", "Answer: {}", "answer:{})", "\\boxed{{{}}}"]))
def test_every_letter_is_read_in_every_spelling(letter, spelling):
    choices = dict(zip("ABCD", CHOICES, strict=True))
    assert chosen(spelling.format(letter), choices) == letter


@pytest.mark.parametrize("reply", ["ı", "İ", "(ı)", "option İ."])
def test_a_letter_that_only_looks_like_a_label_names_none(ask, reply):
    choices = [f"option {number}" for number in range(10)]  # A to J: I among them
    assert grade(ask("choice", "I", choices=choices), reply).score == 0
