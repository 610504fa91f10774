"""The flat vector and its layouts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import BadFile, BadInput
from models.fugu import vector as vectors
from models.fugu.forward.layout import Block, Layout, layout_for, layouts_of


def test_the_released_layout_is_in_state_dict_order(backbones):
    layout = layout_for(backbones("untied").decoder, "released")
    assert layout.blocks == (
        Block("embed_tokens", 24),
        Block("layers.2.self_attn.q_proj", 24),  # 32 × 24
        Block("layers.2.self_attn.k_proj", 16),  # 16 × 24
        Block("layers.2.self_attn.v_proj", 16),
        Block("layers.2.self_attn.o_proj", 24),  # 24 × 32
        Block("layers.2.mlp.gate_proj", 24),
        Block("layers.2.mlp.up_proj", 24),
        Block("layers.2.mlp.down_proj", 24),
        Block("lm_head", 24),
    )
    assert layout.offsets == sum(block.size for block in layout.blocks) and layout.first_layer == 0


def test_late_is_the_released_layout_without_embedding_and_output(backbones):
    for name, layer in (("tied", 1), ("untied", 2), ("two layers", 0)):
        late, released = (layout_for(backbones(name).decoder, each) for each in ("late", "released"))
        assert late.blocks == released.blocks[1:-1] and late.first_layer == layer


@pytest.mark.parametrize("name", ["tied", "gpt2", "bert"])
def test_head_has_no_offsets_on_any_backbone(backbones, name):
    layout = layout_for(backbones(name).decoder, "head")
    assert layout.blocks == () and layout.offsets == 0 and layout.length(5, 32) == 160


@pytest.mark.parametrize("name", ["gpt2", "bert"])
@pytest.mark.parametrize("layout", ["released", "late"])
def test_other_models_take_no_offsets(backbones, name, layout):
    assert layouts_of(backbones(name).decoder) == ("head",) and layout in layouts_of(backbones("tied").decoder)
    with pytest.raises(BadInput, match=r"llama, mistral .*, qwen2 and qwen3") as caught:
        layout_for(backbones(name).decoder, layout)
    assert caught.value.field == "layout"


def test_an_unknown_layout_is_an_error(backbones):
    with pytest.raises(BadInput, match="unknown layout 'early'"):
        layout_for(backbones("tied").decoder, "early")


@given(st.integers(0, 20), st.integers(1, 5), st.integers(1, 6))
def test_split_undoes_join(offsets, rows, width):
    layout = Layout("late", (Block("any", offsets),), 0)
    flat = np.arange(layout.length(rows, width), dtype=np.float32)
    parts = vectors.split(flat, layout)
    assert parts[1].shape == (rows * width,)
    np.testing.assert_array_equal(vectors.join(*parts), flat)


def test_the_released_length_is_19456():
    layout = Layout("released", tuple(Block(str(i), 1024) for i in range(9)), 0)
    assert layout.length(10, 1024) == 19_456


LAYOUT = Layout("late", (Block("any", 4),), 0)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.zeros(9), "takes 10 numbers"),
        (np.zeros((2, 5)), "takes 10 numbers"),
        (np.full(10, np.nan), "NaN"),
        (np.full(10, np.inf), "NaN"),
        (np.full(10, 1e300), "NaN"),
        (np.array(["a"] * 10), "real numbers"),
        (np.zeros(10, complex), "real numbers"),
        ([[0.0], [0.0, 1.0]], "no array"),
        (["a"] * 10, "real numbers"),
        (None, "takes 10 numbers"),
        (torch.full((10,), torch.nan), "NaN"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused(vector, message):
    with pytest.raises(BadInput, match=message) as caught:
        vectors.checked(vector, LAYOUT, 6)
    assert caught.value.field == "vector"


@pytest.mark.parametrize(
    "vector", [[1.5] * 10, (1.5,) * 10, torch.full((10,), 1.5, dtype=torch.bfloat16, requires_grad=True)]
)
def test_a_list_and_a_tensor_are_vectors_too(vector):
    found = vectors.checked(vector, LAYOUT, 6)
    assert found.dtype == np.float32 and found.tolist() == [1.5] * 10


def test_a_checked_vector_is_a_copy():
    original = np.zeros(10, np.float32)
    vectors.checked(original, LAYOUT, 6)[0] = 1
    assert original[0] == 0


def test_a_vector_survives_its_file(tmp_path):
    vector = np.linspace(-1, 1, 7, dtype=np.float32)
    np.save(tmp_path / "v.npy", vector)
    np.testing.assert_array_equal(vectors.load(tmp_path / "v.npy"), vector)


def test_a_pickle_is_never_loaded(tmp_path):
    np.save(tmp_path / "bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "many.npz", a=np.zeros(2))
    (tmp_path / "short.npy").write_bytes(b"\x93NUMPY")
    for name in ("bad.npy", "many.npz", "short.npy", "none.npy"):
        with pytest.raises(BadFile, match=name):
            vectors.load(tmp_path / name)


def test_a_digest_is_of_the_float32_values_alone():
    vector = np.linspace(-1, 1, 6).astype(np.float32)
    assert vectors.digest(vector) == vectors.digest(vector.astype(np.float64)) == vectors.digest(vector[::-1][::-1])
    assert vectors.digest(vector) != vectors.digest(vector + 1)
