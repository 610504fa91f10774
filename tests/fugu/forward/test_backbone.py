"""Hidden states: which position is read, what is shared, and that nothing depends on batching."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModel, T5Config, ViTConfig, ViTModel

from models.errors import BadInput
from models.fugu.forward.backbone import Backbone
from models.fugu.forward.batches import batches as batches_of
from models.fugu.forward.decoder import Decoder
from models.fugu.forward.layout import layouts_of
from models.fugu.router import Router

CAUSAL = [
    "tied",
    "untied",
    "two layers",
    "few words",
    "llama",
    "qwen2",
    "mistral",
    "mistral, sliding",
    "gpt2",
    "opt",
    "gemma3",
]


def reference(backbone: Backbone, text: str) -> np.ndarray:
    """transformers' own forward over the whole text, read at its penultimate token (its only one)."""
    ids = backbone.tokenizer(text)["input_ids"]
    model = AutoModel.from_pretrained(backbone.folder, dtype=torch.float64)
    with torch.no_grad():
        states = model(torch.tensor([ids])).last_hidden_state[0]
    return (states.mean(0) if backbone.kind == "encoder" else states[max(len(ids) - 2, 0)]).numpy()


@pytest.mark.parametrize("name", CAUSAL)
def test_a_feature_is_the_final_norm_state_at_the_penultimate_token(backbones, texts, name):
    backbone = backbones(name)
    expected = np.stack([reference(backbone, text) for text in texts])
    assert backbone.kind == "causal"
    np.testing.assert_allclose(backbone.features(texts), expected, atol=1e-4)


def test_an_encoder_is_read_by_mean_pooling(backbones, texts):
    backbone = backbones("bert")
    short = [text for text in texts if len(backbone.tokenizer(text)["input_ids"]) <= 64]
    assert backbone.kind == "encoder"
    np.testing.assert_allclose(
        backbone.features(short), np.stack([reference(backbone, text) for text in short]), atol=1e-5
    )


@pytest.mark.parametrize("name", ["tied", "gpt2", "bert"])
def test_the_batch_a_text_stands_in_changes_nothing(load, texts, name):
    together, alone = load(name), load(name, memo_bytes=0)
    apart = np.concatenate([alone.features([text]) for text in texts])
    np.testing.assert_allclose(together.features(texts), apart, atol=1e-5)


@pytest.mark.parametrize("name", ["tied", "gpt2"])
def test_a_text_of_one_token_is_read_at_that_token(backbones, name):
    backbone = backbones(name)
    assert len(backbone.tokenizer("u")["input_ids"]) == 1
    np.testing.assert_allclose(backbone.features(["u"])[0], reference(backbone, "u"), atol=1e-4)


@pytest.mark.parametrize("name", ["tied", "gpt2"])
def test_the_last_token_is_not_computed(backbones, texts, name):
    text = texts[0]
    ids = backbones(name).tokenizer([text, text + "u"])["input_ids"]
    assert len(ids[1]) == len(ids[0]) + 1
    fed = backbones(name).reader.tokens([text])
    assert fed[0].tolist() == ids[0][:-1]


def test_no_vocabulary_matrix_is_loaded(backbones):
    assert not any("lm_head" in name for name, _ in backbones("untied").model.named_parameters())


def test_a_text_without_tokens_is_an_error(backbones):
    with pytest.raises(BadInput, match="without a token"):
        backbones("tied").features(["u", ""])
    assert backbones("tied").features([]).shape == (0, 32)


def test_a_text_beyond_the_context_keeps_its_end(load):
    backbone = load("tied")
    text = "user: " + "0123456789 " * 300 + "what?"
    ids = backbone.tokenizer(text)["input_ids"]
    assert len(ids) > 600 and backbone.reader.tokens([text])[0].tolist() == ids[-513:-1]
    assert np.isfinite(backbone.features([text])).all()
    encoder = load("bert")
    assert encoder.reader.tokens([text])[0].tolist() == [*ids[:63], ids[-1]]


def test_a_remembered_text_is_not_computed_again(load, texts, monkeypatch):
    backbone = load("tied")
    first = backbone.features(texts)
    monkeypatch.setattr(backbone.reader, "tokens", None)
    np.testing.assert_array_equal(backbone.features(list(reversed(texts))), first[::-1])
    with pytest.raises(TypeError):
        backbone.features(["another"])


def test_what_is_remembered_stays_within_its_bound(load, texts):
    backbone = load("tied", memo_bytes=3 * 32 * 4)
    together = backbone.features(texts)
    assert backbone._memo._kept.currsize == 3 * 32 * 4 and len(backbone._memo._kept) == 3
    np.testing.assert_allclose(backbone.features(texts), together, atol=1e-5)


def test_what_is_remembered_of_a_text_is_not_the_text(load, texts):
    backbone = load("tied")
    backbone.features([texts[3]])
    assert all(sum(map(len, key)) < 64 < len(texts[3]) for key in backbone._memo._kept)


def test_keys_and_values_are_held_where_they_are_wanted_alone(load, texts, random_vector, monkeypatch):
    backbone = load("untied")
    router = Router(backbone, random_vector(backbone, "released", 2), ["a", "b"], roles=False)
    made, held = [], []
    layer, last = Decoder._layer, Decoder._last_layer

    def watched(self, *given):
        states, seen = layer(self, *given)
        made.append(weakref.ref(seen[0]))
        return states, seen

    def counted(self, *given):
        held.append(sum(keys() is not None for keys in made))
        made.clear()
        return last(self, *given)

    monkeypatch.setattr(Decoder, "_layer", watched)
    monkeypatch.setattr(Decoder, "_last_layer", counted)
    router.logits(texts[:1])
    router.resumed_logits(texts[:1])
    assert held == [1, backbone.layer_count - 1]


def test_what_is_handed_out_is_not_what_is_remembered(load, texts):
    backbone = load("tied")
    backbone.features(texts)[:] = 0
    assert np.abs(backbone.features(texts)).min(axis=1).max() > 0


def test_lower_states_are_shared_by_candidates(load, texts, random_vector, monkeypatch):
    backbone = load("untied")
    router = Router(backbone, random_vector(backbone, "late", 2), ["a", "b"], roles=False, layout="late")
    runs = []
    monkeypatch.setattr(backbone, "_lower", lambda *args, run=backbone._lower: runs.append(args) or run(*args))
    for seed in range(3):
        router.logits(texts, random_vector(backbone, "late", 2, seed=seed))
    assert len(runs) == 1


def test_lower_states_may_be_remembered_in_half_precision(load, texts, random_vector):
    whole, half = load("untied"), load("untied", memo_dtype=torch.bfloat16)
    vector = random_vector(whole, "late", 2)
    logits = [Router(each, vector, ["a", "b"], roles=False, layout="late").logits(texts) for each in (whole, half)]
    assert half._memo._kept.currsize == whole._memo._kept.currsize / 2
    np.testing.assert_allclose(logits[1], logits[0], atol=0.5)
    assert not np.allclose(logits[1], logits[0], atol=1e-5)


def test_equal_texts_are_computed_once(load, texts, random_vector, monkeypatch):
    backbone = load("untied")
    router = Router(backbone, random_vector(backbone, "released", 2), ["a", "b"], roles=False)
    apart = router.logits(texts)
    fed = []
    monkeypatch.setattr(
        backbone.reader, "tokens", lambda texts, run=backbone.reader.tokens: fed.extend(texts) or run(texts)
    )
    np.testing.assert_allclose(router.logits([*texts, *texts]), np.concatenate([apart, apart]), atol=1e-5)
    assert fed == texts


@given(st.lists(st.integers(1, 300), max_size=40), st.integers(1, 1000))
def test_batches_hold_every_text_once_within_their_bound(lengths, tokens):
    batches = list(batches_of(lengths, tokens))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        inside = [lengths[index] for index in batch]
        assert len(batch) == 1 or len(batch) * max(inside) <= tokens
        assert 4 * min(inside) >= 3 * max(inside)


def test_threads_may_share_a_backbone(load, texts):
    backbone = load("tied", memo_bytes=0)
    expected = load("tied").features(texts)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(backbone.features, [texts] * 8):
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_digest_is_of_weights_and_tokenizer(make_folder, tmp_path):
    digest = Backbone.load(make_folder("tied"), device="cpu").digest
    copy = tmp_path / "copy"
    shutil.copytree(make_folder("tied"), copy)
    assert Backbone.load(copy, device="cpu").digest == digest
    assert Backbone.load(make_folder("tied", seed=1), device="cpu").digest != digest
    content = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps({**content, "add_bos_token": True}))
    assert Backbone.load(copy, device="cpu").digest != digest


def test_factorisations_are_kept_under_the_cache_folder(load, tmp_path, random_vector, texts):
    for _ in range(2):
        backbone = load("tied", cache=tmp_path / "svf")
        Router(backbone, random_vector(backbone, "released", 2), ["a", "b"], roles=False).logits(texts)
    assert len(list((tmp_path / "svf").iterdir())) == 8  # the tied matrix once


def test_what_is_no_backbone_is_named(make_folder, tmp_path):
    empty, unweighted, seq2seq = (tmp_path / name for name in ("empty", "unweighted", "seq2seq"))
    empty.mkdir()
    shutil.copytree(make_folder("tied"), unweighted, ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.copytree(make_folder("tied"), seq2seq, ignore=shutil.ignore_patterns("config.json"))
    T5Config().save_pretrained(seq2seq)
    for folder, message in ((empty, "empty"), (unweighted, "unweighted"), (seq2seq, "encoder-decoder")):
        with pytest.raises(BadInput, match=message) as caught:
            Backbone.load(folder, device="cpu")
        assert caught.value.field == "backbone"


@pytest.mark.parametrize(("name", "width"), [("opt", 16), ("gemma3", 40)])
def test_the_width_is_that_of_the_states_that_come_out(backbones, texts, name, width):
    backbone = backbones(name)
    assert (backbone.width, backbone.layer_count, layouts_of(backbone.decoder)) == (width, 2, ("head",))
    assert backbone.features(texts).shape == (len(texts), width)


def test_the_layers_of_mistral_are_known_unless_a_window_slides(backbones):
    assert "late" in layouts_of(backbones("mistral").decoder)
    assert layouts_of(backbones("mistral, sliding").decoder) == ("head",)


def test_a_model_that_reads_no_plain_text_is_named(tokenizer, tmp_path):
    model = ViTModel(
        ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16)
    )
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="vit reads no plain text"):
        Backbone.load(tmp_path, device="cpu")


def test_broken_weights_are_named(make_folder, tmp_path):
    def broken(name: str) -> Path:
        shutil.copytree(make_folder("untied"), tmp_path / name)
        return tmp_path / name

    short, other = broken("short") / "model.safetensors", broken("other") / "model.safetensors"
    short.write_bytes(short.read_bytes()[:-100])
    weights = load_file(other)
    weights["model.layers.1.mlp.up_proj.weight"] = weights["model.layers.1.mlp.up_proj.weight"][:, :-1].clone()
    save_file(weights, other, metadata={"format": "pt"})
    for file in (short, other):
        with pytest.raises(BadInput, match=f"{file.parent.name} cannot be loaded") as caught:
            Backbone.load(file.parent, device="cpu")
        assert caught.value.field == "backbone" and "\n" not in str(caught.value)


def test_missing_weights_are_an_error_and_not_random_numbers(make_folder, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(make_folder("untied"), folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"layers\.1\.mlp\.up_proj"):
        Backbone.load(folder, device="cpu")


def test_a_name_that_the_hub_does_not_have_is_an_error(closed_port):
    environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{closed_port}", "HF_HUB_DISABLE_TELEMETRY": "1"}
    program = "from models.fugu.forward.hub import local_folder; local_folder('nobody/nothing')"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "BadInput: no folder and no hub model is called nobody/nothing" in done.stderr
