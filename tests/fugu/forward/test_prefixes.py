"""A conversation that goes on computes what is new alone, and decides as if it had computed everything."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.fugu.forward.prefixes import Prefix, Prefixes, past_of
from models.fugu.router import Router

WORKERS = ("ant", "bee", "cat")
ROWS = len(WORKERS) + 3
MORE = " Good, and what else? Think of stones and mornings."
CPU = torch.device("cpu")


@pytest.fixture
def make_router(load, random_vector):
    def make(name="tied", layout="released", seed=0, **options) -> Router:
        backbone = load(name, **options)
        return Router(backbone, random_vector(backbone, layout, ROWS, seed=seed), WORKERS, layout=layout)

    return make


@pytest.fixture
def computed(monkeypatch):
    """The shapes [texts, tokens] that a router's decoder goes through from now on."""

    def watch(router):
        shapes = []
        run = router.backbone.decoder.resume
        monkeypatch.setattr(
            router.backbone.decoder,
            "resume",
            lambda states, *rest: shapes.append(tuple(states.shape[:2])) or run(states, *rest),
        )
        return shapes

    return watch


@pytest.mark.parametrize("layout", ["released", "late", "head"])
@pytest.mark.parametrize("name", ["tied", "untied", "two layers", "few words", "llama", "qwen2"])
def test_every_turn_has_the_logits_of_a_whole_forward(make_router, texts, name, layout):
    router = make_router(name, layout)
    for text in texts:
        for turn in (text, text + MORE, text + MORE + MORE, text[: len(text) // 2] + MORE, text):
            np.testing.assert_allclose(router.resumed_logits([turn]), router.logits([turn]), atol=1e-4)


def test_only_new_tokens_are_computed(make_router, texts, computed):
    router = make_router()
    shapes = computed(router)
    lengths = [len(ids) for ids in router.backbone.reader.tokens([texts[1], texts[1] + MORE])]
    router.resumed_logits([texts[1]])
    router.resumed_logits([texts[1] + MORE])
    router.resumed_logits([texts[1] + MORE])
    first, second, third = (tokens for _, tokens in shapes)
    assert first == lengths[0] and second <= lengths[1] - lengths[0] + 2 and third == 1


def test_turns_of_several_conversations_share_a_forward(make_router, texts, computed):
    router = make_router(prefix_bytes=1 << 24)
    for text in texts[:3]:
        router.resumed_logits([text])
    shapes, turns = computed(router), [*(text + MORE for text in texts[:3]), "user: hello again, and" + MORE]
    together = router.resumed_logits([*turns, turns[0]])
    assert sum(count for count, _ in shapes) == 4 and any(count > 1 for count, _ in shapes)
    np.testing.assert_allclose(together, router.logits([*turns, turns[0]]), atol=1e-4)
    again = [turn + MORE for turn in turns]
    np.testing.assert_allclose(router.resumed_logits(again), router.logits(again), atol=1e-4)


def test_a_batch_holds_less_than_all_that_is_kept(make_router, computed, monkeypatch):
    router = make_router(prefix_bytes=1 << 22)
    backbone, begun = router.backbone, "user: " + "Of stones and of mornings. " * 20
    router.resumed_logits([begun])
    gathered = []

    def watched(prefixes, device):
        past = past_of(prefixes, device)
        gathered.append(0 if past is None else sum(keys.nbytes + values.nbytes for keys, values in past.seen))
        return past

    monkeypatch.setattr("models.fugu.forward.conversations.past_of", watched)
    shapes, turns = computed(router), [f"{begun} And {number}?" for number in range(32)]
    found = router.resumed_logits(turns)
    assert 0 < max(gathered) <= backbone._prefixes.limit / 4 and max(count for count, _ in shapes) > 1
    assert sum(count for count, _ in shapes) == 32 and max(tokens for _, tokens in shapes) < 10
    np.testing.assert_allclose(found, router.logits(turns), atol=1e-4)
    known = backbone._prefixes.longest(router._installed.offsets, backbone.reader.tokens([begun])[0].numpy())
    size = sum(keys.nbytes + values.nbytes for keys, values in known.seen)
    assert size == len(known.ids) * backbone.decoder.seen_bytes


def test_without_room_for_conversations_none_is_resumed(make_router, texts, computed):
    router = make_router(prefix_bytes=0)
    shapes = computed(router)
    np.testing.assert_array_equal(router.resumed_logits(texts), router.logits(texts))
    assert not router.backbone.resumes and not shapes


def test_what_was_kept_belongs_to_the_offsets_under_which_it_was_computed(make_router, texts, random_vector, computed):
    router = make_router()
    router.resumed_logits([texts[1]])
    other = random_vector(router.backbone, "released", ROWS, seed=9)
    router.install(other)
    shapes = computed(router)
    fresh = router.resumed_logits([texts[1]])
    np.testing.assert_allclose(fresh, router.logits([texts[1]]), atol=1e-4)
    other[router.layout.offsets :] *= 2  # a head reads the same states
    router.install(other)
    np.testing.assert_allclose(router.resumed_logits([texts[1]]), 2 * fresh, atol=1e-3)
    assert shapes[0][1] > 1 and shapes[1][1] == 1


def test_a_text_beyond_the_context_is_decided_as_from_scratch(make_router):
    router = make_router("tied")
    long = "user: " + "0123456789 " * 290
    for text in (long, long + "what?", long + "what? " + "0123456789 " * 20):
        np.testing.assert_allclose(router.resumed_logits([text]), router.logits([text]), atol=1e-4)


def test_half_precision_decides_from_scratch(load, texts, random_vector):
    backbone = load("tied", dtype=torch.bfloat16)
    router = Router(backbone, random_vector(backbone, "head", ROWS), WORKERS, layout="head")
    assert not backbone.resumes
    np.testing.assert_array_equal(router.resumed_logits(texts), router.logits(texts))
    assert not load("gpt2").resumes


def test_threads_may_share_conversations(make_router, texts):
    router = make_router()
    turns = [text + MORE * count for count in range(3) for text in texts]
    expected = router.logits(turns)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: router.resumed_logits([text])[0], turns))
    np.testing.assert_allclose(np.stack(found), expected, atol=1e-4)


def prefix(ids: list[int]) -> Prefix:
    numbers = torch.tensor(ids, dtype=torch.float32)[:, None, None].expand(-1, 2, 4)
    return Prefix(np.array(ids, np.int64), ((numbers, numbers + 0.5),))


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), max_size=6), st.lists(st.integers(0, 2), min_size=1)
)
def test_the_longest_common_beginning_is_found(kept, wanted):
    prefixes = Prefixes(1 << 20)
    for ids in kept:
        prefixes.keep("a", prefix(ids))
    found = prefixes.longest("a", np.array(wanted, np.int64))
    common = [prefix(ids).common(np.array(wanted[:-1], np.int64)) for ids in kept]
    assert (0 if found is None else len(found.ids)) == max(common, default=0)
    if found is not None:
        assert found.ids.tolist() == wanted[: len(found.ids)]
        assert found.seen[0][0][:, 0, 0].tolist() == wanted[: len(found.ids)]
    assert prefixes.longest("b", np.array(wanted, np.int64)) is None


def test_what_is_kept_stays_within_its_bound_and_the_oldest_goes_first():
    size = 2 * 2 * 4 * 4 * 10  # keys and values, two heads of four numbers, ten tokens
    prefixes = Prefixes(3 * size)
    for start in range(5):
        prefixes.keep("a", prefix([start] * 10))
    known = [prefixes.longest("a", np.array([start] * 10)) is not None for start in range(5)]
    assert known == [False, False, True, True, True]
    prefixes.keep("a", prefix([7] * 40))  # larger than the bound: it is not kept, and nothing goes for it
    assert prefixes.longest("a", np.array([7] * 10)) is None and prefixes.longest("a", np.array([4] * 10)) is not None


def test_a_turn_takes_the_place_of_the_one_before():
    prefixes = Prefixes(1 << 20)
    for length in (2, 5, 9):
        prefixes.keep("a", prefix([1] * length))
    assert len(prefixes._kept) == 1


def test_prefixes_of_a_batch_are_padded_on_the_left():
    past = past_of([prefix([5]), None, prefix([1, 2, 3])], CPU)
    assert past.lengths.tolist() == [1, 0, 3]
    assert past.seen[0][0][:, :, 0, 0].tolist() == [[0, 0, 5], [0, 0, 0], [1, 2, 3]]
    assert past_of([None, None], CPU) is None
