"""Which questions are far from those that a small conductor was taught on."""

import pytest

from models.conductor.plan.familiar import FILE, Familiarity, least_share
from models.errors import BadFile

LESSONS = ["What is 17 * 23?", 'How many letters has the word "umbrella"?', "Sort 3, 1, 2."]


@pytest.fixture(scope="module")
def familiarity():
    return Familiarity.taught_on(LESSONS, 0.6, 200)


@pytest.mark.parametrize(
    "text", [*LESSONS, "what is 9*3?", "WHAT IS 4711*2 ?", "How many letters has the\nword 'it'?", "Sort 99,7,5,4."]
)
def test_other_numbers_words_in_quotes_case_and_spaces_make_no_difference(familiarity, text):
    assert not familiarity.is_far(text)


@pytest.mark.parametrize("text", ["Write me code for binary search", "", "((((", "日本の首都はどこですか", "\ud800"])
def test_what_shares_little_with_the_lessons_is_far(familiarity, text):
    assert familiarity.is_far(text)


def test_what_is_longer_than_the_conductor_reads_is_far(familiarity):
    assert familiarity.is_far("What is 17 * 23? " * 12)


def test_more_lessons_make_more_near(familiarity):
    text = "Write me code for binary search"
    assert not familiarity.and_on([text]).is_far(text) and not familiarity.and_on([text]).is_far(LESSONS[0])


def test_it_reads_back_what_was_written(tmp_path, familiarity):
    assert Familiarity.load(tmp_path) is None
    familiarity.save(tmp_path)
    assert Familiarity.load(tmp_path) == familiarity
    for text in ("{", "{}", '{"least": 0, "longest": 1, "known": "?"}'):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(BadFile, match=FILE):
            Familiarity.load(tmp_path)


def test_the_least_share_leaves_so_many_held_out_texts_far():
    held_out = ["What is 2 * 3?", "What was 2 * 3?", "Why is it so?", "Bananas grow."]
    least = least_share([(LESSONS, held_out)], 0.5)
    known = Familiarity.taught_on(LESSONS, least, 200)
    assert [known.is_far(text) for text in held_out] == [False, False, True, True]
