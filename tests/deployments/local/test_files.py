"""A local model's files: names, and a GGUF file that is converted once and says what its safetensors say."""

from __future__ import annotations

from threading import Event

import numpy as np
import pytest

from deployments.local.files import check_files, model_folder, named_file
from deployments.local.generation import LanguageModel, Wanted
from models.errors import BadInput
from models.workers.pool import Pool, Worker


def test_a_name_is_a_path_a_name_in_the_home_or_one_of_the_hub(tmp_path):
    folder = tmp_path / "weights" / "mine"
    folder.mkdir(parents=True)
    file = folder.with_suffix(".gguf")
    file.touch()
    assert named_file("local/mine", tmp_path) == named_file(f"local/{folder}", tmp_path / "other") == folder
    assert named_file("local/mine.gguf", tmp_path) == file
    assert named_file("local/Qwen/Qwen3-0.6B", tmp_path) is None
    assert named_file("local/owner/repository/file.gguf", tmp_path) is None
    for wrong in ("local/none", "local/none.gguf", "local/a/none.gguf", f"local/{tmp_path}/none", "local/a/b/c"):
        with pytest.raises(BadInput, match="there is no"):
            named_file(wrong, tmp_path)


def test_a_pools_models_are_looked_for_before_anything_starts(tmp_path):
    workers = (Worker(name="far", model="openai/m"), Worker(name="near", model="local/none"))
    with pytest.raises(BadInput, match=r"worker 'near': local/none: there is no .*/weights/none"):
        check_files(Pool(name="p", workers=workers), tmp_path)


def write_gguf(file, model, tokenizer):
    """The Llama as GGUF in float32, with its byte-level BPE, as llama.cpp's converter writes it."""
    gguf = pytest.importorskip("gguf")
    config, writer = model.config, gguf.GGUFWriter(file, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(512)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    words = tokenizer.get_vocab()
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(words, key=words.__getitem__))
    writer.add_token_types([1] * len(words))
    writer.add_token_merges([" ".join(pair) for pair in merges_of(tokenizer)])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        array = weight.numpy().astype(np.float32)
        if name.endswith(("q_proj.weight", "k_proj.weight")):  # GGUF keeps rotary halves interleaved
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            shape = heads, 2, array.shape[0] // heads // 2, *array.shape[1:]
            array = np.ascontiguousarray(array.reshape(shape).swapaxes(1, 2).reshape(array.shape))
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def merges_of(tokenizer):
    import json

    return json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]


def said_by(folder):
    model, words = LanguageModel.load(folder), []
    ids = model.prompt([{"role": "user", "content": "What is 17 + 25?"}], {})
    model.generate(ids, Wanted(16, {"do_sample": False}), words.append, Event())
    return "".join(words)


def test_a_gguf_file_is_converted_once_and_answers_as_the_model_that_it_was_made_of(tmp_path, make_model):
    make_model(tmp_path / "made", None)
    made = LanguageModel.load(tmp_path / "made")
    file = tmp_path / "weights" / "tiny.gguf"
    file.parent.mkdir()
    write_gguf(file, made.model, made.tokenizer)
    folder = model_folder("local/tiny.gguf", tmp_path)
    weights = folder / "model.safetensors"
    assert "quantization_config" not in (folder / "config.json").read_text()
    before = weights.stat().st_mtime_ns
    assert said_by(folder) == said_by(tmp_path / "made") != ""
    assert model_folder("local/tiny.gguf", tmp_path) == folder and weights.stat().st_mtime_ns == before


def test_a_broken_gguf_file_is_one_error_and_leaves_nothing(tmp_path):
    pytest.importorskip("gguf")
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(BadInput, match="cannot be read"):
        model_folder(f"local/{file}", tmp_path)
    assert list((tmp_path / "converted").iterdir()) == []
