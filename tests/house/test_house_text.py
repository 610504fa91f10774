import re

import pytest

from models.house.questions import KINDS
from models.house.text import corpus
from models.house.wordings import glosses
from models.house.workers.profiles import PROFILES


@pytest.fixture(scope="module")
def lines():
    return corpus(42, 6000)


def words(text):
    return re.findall(r"\{\w+\}|\w+", text.lower())


def test_equal_seeds_give_equal_lines_and_others_do_not():
    assert corpus(1, 50) == corpus(1, 50) != corpus(2, 50)


def test_lines_come_raw_as_the_router_reads_and_plain(lines):
    raw = sum("user: " in line for line in lines)
    assert 0.4 < raw / len(lines) < 0.8
    assert len(set(lines)) > 0.99 * len(lines)


def test_every_kind_has_sentences_about_it():
    assert set(glosses()) == {kind.name for kinds in KINDS.values() for kind in kinds}


def test_words_of_unseen_phrasings_occur_but_their_phrasings_do_not(lines):
    """No five words of an unseen phrasing in a row, unless a seen one has them too."""

    def fives(text):
        found = words(text)
        return {tuple(found[i : i + 5]) for i in range(len(found) - 4)}

    kinds = [kind for family in KINDS.values() for kind in family]
    seen = set().union(*(fives(phrasing) for kind in kinds for phrasing in kind.seen))
    unseen = set().union(*(fives(phrasing) for kind in kinds for phrasing in kind.unseen))
    told = set().union(*(fives(gloss) for texts in glosses().values() for gloss in texts))
    assert not (unseen - seen) & told
    vocabulary = {word for line in lines for word in words(line)}
    wanted = {w for kind in kinds for phrasing in kind.unseen for w in words(phrasing) if not w.startswith("{")}
    assert len(wanted & vocabulary) / len(wanted) > 0.75


def test_no_worker_is_named(lines):
    named = {word for line in lines for word in re.findall(r"\w+", line)}
    assert not named & set(PROFILES)
