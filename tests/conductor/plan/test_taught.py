"""What a checkpoint's folder says of how it was taught, and for which pools that is enough."""

import pytest

from models.conductor.plan.taught import SETTINGS, Taught
from models.errors import BadFile
from models.workers.pool import Pool, Worker


def pool(*models):
    return Pool(name="p", workers=tuple(Worker(name=f"w{n}", model=model) for n, model in enumerate(models)))


def test_it_reads_back_what_was_written_and_a_folder_without_it_may_plan_for_any_pool(tmp_path):
    assert Taught.read(tmp_path) == Taught() and Taught().misfit(pool("a"), {}) is None
    taught = Taught.on("compact", pool("a", "b"))
    taught.write(tmp_path)
    assert Taught.read(tmp_path) == taught
    (tmp_path / SETTINGS).write_text('{"prompt": "compact"}')  # as an earlier version wrote it
    assert Taught.read(tmp_path).misfit(pool("c"), {}) is None


def test_what_reads_no_cards_needs_the_same_models_in_the_same_order():
    taught = Taught.on("compact", pool("a", "b"))
    assert [taught.misfit(pool(*models), {}) is None for models in (("a", "b"), ("a",))] == [True, True]
    for models in (("b", "a"), ("b",), ("a", "b", "c"), ("x", "y")):
        assert "it knows the workers w0, w1 in this order" in taught.misfit(pool(*models), {})


def test_what_names_skills_needs_some_that_were_measured():
    taught = Taught.on("carded", pool("a"), ["sums", "facts"])
    assert taught.misfit(pool("x", "y"), {"w0": "facts 0.90, law 0.10", "w1": ""}) is None
    for cards in ({"w0": "law 0.90"}, {"w0": ""}, {}):
        assert "the skills sums, facts" in taught.misfit(pool("x", "y"), cards)
    assert Taught.on("full", pool("a")).misfit(pool("x"), {}) is None


@pytest.mark.parametrize("text", ["{", '{"prompt": "sonnet"}', '{"workers": 3}', "[]"])
def test_what_cannot_be_read_names_the_file(tmp_path, text):
    (tmp_path / SETTINGS).write_text(text)
    with pytest.raises(BadFile, match=SETTINGS):
        Taught.read(tmp_path)
