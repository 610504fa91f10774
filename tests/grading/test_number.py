from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import BadInput
from models.grading.grade import check, grade
from models.grading.number import last_number

INTEGERS = st.integers(-(10**15), 10**15)
SCIENTIFIC = ["{}e{}", "{} × 10^{}", "{}*10**{}", "{}E{:+03d}"]


@given(INTEGERS, st.sampled_from(["{}", "{:,}", "{:_}", "Answer: {:,}", "it is {}.", "= {} ", "**{}**", "${}$"]))
def test_integers_are_read_in_every_spelling(number, spelling):
    assert last_number(spelling.format(number)) == (number, "")


@given(st.decimals(-(10**9), 10**9, places=4), st.sampled_from(["{}", "{:,}", "{:+}", "x={}", "({})"]))
def test_decimals_are_read_exactly(number, spelling):
    assert last_number(spelling.format(number)) == (Fraction(number), "")


@given(INTEGERS, st.integers(1, 10**6), st.booleans())
def test_fractions_are_read_exactly(over, under, latex):
    sign = "-" if over < 0 else ""
    text = f"{sign}\\frac{{{abs(over)}}}{{{under}}}" if latex else f"{over}/{under}"
    found = last_number(text)
    assert found is not None and abs(found[0]) == Fraction(abs(over), under)


@given(
    st.integers(-999, 999), st.integers(-30, 30), st.sampled_from(["{}e{}", "{} × 10^{}", "{}*10**{}", "{}E{:+03d}"])
)
def test_scientific_notation_is_read_exactly(mantissa, exponent, spelling):
    assert last_number(spelling.format(mantissa, exponent)) == (Fraction(mantissa) * Fraction(10) ** exponent, "")


@given(st.integers(0, 1000), st.sampled_from(["%", " %", " percent", "\\%"]))
def test_a_percent_sign_is_a_unit_and_never_a_division(number, sign):
    found = last_number(f"{number}{sign}")
    assert found is not None and found[0] == number and found[1] in ("%", "percent")


@given(st.text("0123456789.,/-+eE^ x*()%$km", max_size=40))
def test_any_text_gives_a_number_or_none(text):
    assert last_number(text) is None or isinstance(last_number(text)[0], Fraction)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1 1/2", Fraction(3, 2)),
        ("2½", Fraction(5, 2)),
        ("−7", -7),
        ("x = - 3", -3),
        ("-$1,200.50", Fraction("-1200.5")),
        ("\\boxed{12}", 12),
        ("1.5×10³", 1500),
        ("first 3, then 4, so 7", 7),
    ],
)
def test_the_last_number_is_read(text, number):
    assert last_number(text)[0] == number


@pytest.mark.parametrize(
    "text", ["", "none", "m2", "2^5", "1/0", "1e999999999", "9" * 5000 + "^2", "3-5", "3–5", "1.2.3"]
)
def test_what_is_no_number_is_none(text):
    assert last_number(text) is None


@pytest.mark.parametrize(
    ("reference", "options", "reply", "score"),
    [
        (12, {}, "Answer: 12 apples", 1),
        (12, {}, "Answer: 13", 0),
        (10**9, {}, str(10**9 + 1), 0),
        ("1/3", {}, "0.333", 0),
        ("1/3", {"absolute": 0.001}, "0.333", 1),
        (200, {"relative": 0.01}, "202", 1),
        (200, {"relative": 0.01}, "202.1", 0),
        (0.1, {}, "0.1", 1),
        (0.5, {}, "50%", 0),
        (5, {"unit": "km"}, "5 km", 1),
        (5, {"unit": "km"}, "5", 1),
        (5, {"unit": "km"}, "5 m", 0),
        (5, {"unit": "km"}, "5000 m", 0),
        (5, {"unit": ["km", "kilometres"]}, "It is 5 Kilometres.", 1),
        (5, {"unit": "km", "unit_required": True}, "5", 0),
        (50, {"unit": "%"}, "50 percent", 1),
        (9.8, {"unit": "m/s²"}, "9.8 m/s^2", 1),
        (3, {"unit": "$"}, "€3", 0),
    ],
)
def test_tolerance_and_unit(ask, reference, options, reply, score):
    assert grade(ask("number", reference, **options), reply).score == score


@pytest.mark.parametrize("name", ["absolute", "relative"])
def test_a_tolerance_is_finite(ask, name):
    with pytest.raises(BadInput, match="finite"):
        check(ask("number", 4, **{name: float("inf")}))
