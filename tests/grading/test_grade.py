import time

import pytest

from models.errors import BadInput
from models.grading.grade import GRADERS, check, grade, needs_sandbox, version

QUESTIONS = {
    "exact": ("Paris", {}),
    "number": (12, {"unit": "km"}),
    "choice": ("B", {"choices": ["Rome", "Paris"]}),
    "math": ("x+1", {}),
}


@pytest.mark.parametrize("grader", GRADERS)
def test_every_grader_has_a_version_with_its_name(grader):
    name, number = version(grader).split("/")
    assert name == grader and int(number) >= 1


def test_only_code_needs_the_sandbox():
    assert [grader for grader in GRADERS if needs_sandbox(grader)] == ["code", "command"]


def test_an_unknown_grader_is_a_clear_error(ask):
    for use in (check, lambda question: grade(question, "x")):
        with pytest.raises(BadInput, match="unknown grader 'vibes'") as error:
            use(ask("vibes", "x"))
        assert error.value.field == "grader"


@pytest.mark.parametrize("grader", QUESTIONS)
def test_a_fitting_question_passes_and_an_unknown_option_does_not(ask, grader):
    reference, options = QUESTIONS[grader]
    check(ask(grader, reference, **options))
    with pytest.raises(BadInput, match=r"options\.colour"):
        check(ask(grader, reference, **options, colour="red"))


@pytest.mark.parametrize(
    ("grader", "reference", "options", "field"),
    [
        ("exact", None, {}, "reference"),
        ("exact", [], {}, "reference"),
        ("exact", "  ", {}, "reference"),
        ("number", "twelve", {}, "reference"),
        ("number", True, {}, "reference"),
        ("number", 1, {"absolute": -1}, "options.absolute"),
        ("number", 1, {"unit_required": True}, "options.unit"),
        ("choice", "C", {"choices": ["Rome", "Paris"]}, "reference"),
        ("choice", "A", {"choices": ["Rome", "rome"]}, "options.choices"),
        ("choice", "A", {"choices": ["B", "A"]}, "options.choices"),
        ("math", "9^9^9^9", {}, "reference"),
        ("math", "1/0", {}, "reference"),
        ("code", None, {"entry": "f", "tests": [{"stdin": "", "stdout": ""}]}, "options.entry"),
        ("code", None, {"tests": [{"args": [], "expected": 1}]}, "options.entry"),
    ],
)
def test_a_question_that_does_not_fit_names_the_field(ask, grader, reference, options, field):
    with pytest.raises(BadInput) as error:
        check(ask(grader, reference, **options))
    assert error.value.field == field


@pytest.mark.parametrize("grader", QUESTIONS)
@pytest.mark.parametrize(
    "piece",
    [
        "9",
        " ",
        "`",
        "$",
        "\\(",
        "(",
        "1/",
        "-",
        "answer ",
        "Answer: ",
        "\\boxed{",
        "1,234",
        "x^",
        "=",
        "A) ",
        "\n",
        "¿",
        "\\frac",
        "1 ",
        "**",
        "answer is ",
        "not A ",
        "\\text{",
        "\\pm",
        "x",
        "ab cd ef ",
    ],
)
def test_no_reply_takes_long_or_raises(ask, grader, piece):
    reference, options = QUESTIONS[grader]
    start = time.process_time()
    for reply in (piece * (50_000 // len(piece)), "Answer: " + piece * 200, ""):
        assert grade(ask(grader, reference, **options), reply).score == 0
    assert time.process_time() - start < 2
