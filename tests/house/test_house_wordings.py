"""The tables of data/house give the corpus and plans of the shipped recipes, and are read strictly."""

from __future__ import annotations

import hashlib
import json
from random import Random

import pytest

from models.errors import BadFile
from models.house import backbone, conductor, wordings
from models.house.plans import one_step, tasks_of, two_steps, written
from models.house.questions import KINDS
from models.house.text import corpus

CORPORA = {
    (42, 16_000): "0bded41072b5b6136bc90fdf66e0ed0a4041bd068c74d2efba8e4bb16306d3c9",
    (7, 4_000): "2be6136479a8e63c225faffc87d22207906462ddf454e76318fa963d2fdb9044",
}
PLANS = "f028d4e139e404aa729f2928edd502b1153c4c4e51e2505e9a099e8dd2c7c6b8"
REHEARSED = "5607795b32df2b853c6f2eec56b68b84ed0c6c04483f9286d8c78768f8fc1c1e"


def sha256(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


@pytest.mark.parametrize(("seed", "lines"), CORPORA)
def test_the_corpus_is_unchanged(seed, lines):
    assert sha256(corpus(seed, lines)) == CORPORA[seed, lines]


def test_every_written_plan_is_unchanged():
    plans = []
    for kind in [*(kind.name for family in KINDS.values() for kind in family), "", "other"]:
        plans += [written(one_step(kind, 1)), written(two_steps(kind, 0, 3))]
        for seed in range(20):
            draws = Random(seed)
            plans += [written(one_step(kind, 2, draws)), written(two_steps(kind, 4, 1, draws))]
        plans += [list(tasks_of(kind, "t", steps)) for steps in (1, 2)]
    assert sha256(plans) == PLANS


def test_what_the_shipped_conductor_learned_from_is_unchanged():
    asked = conductor.questions(conductor.DEFAULT)[:400]
    assert sha256([[e.prompt, e.completion] for e in conductor.rehearsed(asked, conductor.DEFAULT)]) == REHEARSED


def test_the_recipes_have_the_digests_of_what_is_shipped():
    assert (backbone.DEFAULT.digest, conductor.DEFAULT.digest) == ("3899f47a85ef3a82", "8f94c61869fc92c5")


@pytest.fixture
def data(tmp_path, monkeypatch):
    (tmp_path / "house").mkdir()
    monkeypatch.setenv("FUGU_DATA", str(tmp_path))
    wordings.glosses.cache_clear()
    yield tmp_path / "house" / "glosses.yaml"
    wordings.glosses.cache_clear()


def test_tables_in_fugu_data_come_first_and_the_projects_where_it_has_none(data):
    assert "sum" in wordings.glosses()
    wordings.glosses.cache_clear()
    data.write_text("own: [One sentence.]\n")
    assert wordings.glosses() == {"own": ("One sentence.",)}


@pytest.mark.parametrize("text", ["own: One sentence.\n", "own: [1]\n", "own: [a]\nown: [b]\n", "- a\n"])
def test_a_table_that_does_not_fit_is_named(data, text):
    data.write_text(text)
    with pytest.raises(BadFile, match=r"glosses\.yaml"):
        wordings.glosses()
