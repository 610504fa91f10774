"""What fits is read as it is; of what does not, its beginning and its end, the same for everybody who asks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.fugu.microbatch import MicroBatcher
from models.fugu.router import Router
from models.fugu.transcript import ends

WORKERS = ("ant", "bee", "cat")
ROWS = len(WORKERS) + 3


@given(st.lists(st.integers(0, 9), max_size=300), st.integers(4, 80))
def test_what_fits_stays_and_of_what_does_not_both_ends_do(whole, most):
    read = ends(whole, most)
    if len(whole) <= most:
        assert read is whole
        return
    first = most // 4
    assert most - max(1, most // 8) < len(read) <= most
    assert read[:first] == whole[:first] and read[first:] == whole[first - len(read) :]
    assert ends(read, most) is read


def test_of_a_conversation_that_goes_on_the_same_is_read_for_some_turns():
    whole = list(range(1000))
    begun = {tuple(ends(whole[:length], 160)[:80]) for length in range(401, 421)}
    assert len(begun) == 1
    assert len({tuple(ends(whole[:length], 160)[:80]) for length in range(401, 561)}) <= 9


@pytest.mark.parametrize("name", ["tied", "bert"])
def test_a_text_that_has_as_many_tokens_as_are_read_is_fed_bit_for_bit(load, name):
    text = "user: Which of these words begins with a vowel? é ﬁ 好 \U0001f600 \n\t  end"
    known = load(name).reader.tokens([text])[0]
    count = len(load(name).tokenizer(text)["input_ids"])
    assert torch.equal(load(name, read_tokens=count).reader.tokens([text])[0], known)
    cut = load(name, read_tokens=count - 1).reader.tokens([text])[0]
    assert len(cut) < len(known) and torch.equal(cut[-3:], known[-3:]) and torch.equal(cut[:3], known[:3])


@pytest.mark.parametrize(
    "text", ["a" * 200, " " * 200, "the quick " * 20, "\u0390" * 90, "e\u0301" * 90, "\U0001f600" * 60]
)
def test_no_text_that_fits_has_more_characters_than_are_looked_at(load, text):
    backbone = load("tied")
    count = len(backbone.tokenizer(text)["input_ids"])
    assert load("tied", read_tokens=count).reader.most_chars >= len(text)


def test_a_huge_text_is_cut_before_it_is_tokenised_and_everybody_reads_the_same_of_it(load, random_vector, monkeypatch):
    backbone = load("tied", read_tokens=64)
    router = Router(backbone, random_vector(backbone, "late", ROWS), WORKERS, layout="late")
    tokenised, tokenizer = list[int](), backbone.reader._tokenizer

    def counting(texts, **options):
        tokenised.extend(map(len, texts))
        return tokenizer(texts, **options)

    counting.get_vocab = tokenizer.get_vocab
    monkeypatch.setattr(backbone.reader, "_tokenizer", counting)
    text = "".join(np.random.default_rng(0).choice(list("abcdef ghij\n"), 200_000))
    decided = router.decide([{"role": "user", "content": text}])
    batcher = MicroBatcher(router)
    batched = batcher.submit([f"user: {text}"]).result(timeout=60)[0]
    batcher.close()
    learned = router.logits([f"user: {text}"])[0]  # as candidates are judged and a warm start learns
    assert max(tokenised) <= backbone.reader.most_chars < len(text)
    np.testing.assert_allclose(np.concatenate([decided.worker_logits, decided.role_logits]), learned, atol=1e-4)
    np.testing.assert_allclose(batched, learned, atol=1e-4)
    other = router.logits([f"user: {text[:-20]}what is it?"])[0]
    assert np.abs(other - learned).max() > 1e-4  # its end is read


def test_what_is_kept_of_a_huge_text_is_bounded_by_what_is_read_of_it(load):
    backbone = load("tied", read_tokens=32)
    backbone.features(["word " * 50_000])
    backbone.resumed(["word " * 50_000], None, "me")
    assert backbone._memo._kept.currsize == backbone.width * 4
    (prefix,) = backbone._prefixes._kept.values()
    assert len(prefix.ids) <= 32
    assert all(
        isinstance(part, str | bytes) and len(part) <= 32 * 8 for key in backbone._prefixes._kept for part in key
    )
