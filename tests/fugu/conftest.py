"""Tiny backbones, made once a run: random weights, a byte-level BPE of their own, written as Hugging Face folders."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertModel,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from models.fugu.forward.backbone import Backbone
from models.fugu.forward.layout import layout_for

VOCABULARY = 320
TEXTS = [
    "user: What is 17 + 25? Answer briefly.",
    "user: Translate 'good morning' into French, please, and then into Dutch.\nassistant: bonjour, goedemorgen",
    "system: Be terse.\nuser: Reverse the word stone.",
    "user: " + "a rather long question about nothing in particular, " * 8,
    "user: ",
]


def sizes(width: int, inner: int, heads: int, shared: int, head: int, layers: int, tied: bool) -> dict[str, Any]:
    """`shared`: key-value heads (grouped-query attention where fewer than heads)."""
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "head_dim": head,
        "num_hidden_layers": layers,
        "tie_word_embeddings": tied,
    }


SIZES = {
    "tied": sizes(32, 48, 4, 2, 8, 3, True),
    "untied": sizes(24, 80, 2, 1, 16, 4, False),
    "two layers": sizes(40, 24, 5, 5, 4, 2, True),
    "few words": sizes(400, 48, 4, 2, 8, 3, True),  # the vocabulary is smaller than the width
}


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test writes to the user's own cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory, tokenizer) -> Callable[[str, Any], Path]:
    """(name, seed) -> a folder that `Backbone.load` reads; made once."""
    made: dict[tuple[str, int], Path] = {}

    def make(name: str, seed: int = 0) -> Path:
        if (name, seed) not in made:
            folder = tmp_path_factory.mktemp(name.replace(" ", "-"))
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = _model(name).float()
                _roughen(model)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[name, seed] = folder
        return made[name, seed]

    return make


@pytest.fixture(scope="session")
def load(make_folder) -> Callable[..., Backbone]:
    """name -> a fresh Backbone on the CPU."""
    return lambda name, **options: Backbone.load(make_folder(name), device="cpu", **options)


@pytest.fixture(scope="session")
def backbones(load) -> Callable[[str], Backbone]:
    """name -> a Backbone shared by the whole run."""
    return functools.cache(load)


@pytest.fixture(scope="session")
def random_vector() -> Callable[..., np.ndarray]:
    """(backbone, layout, rows, seed, spread) -> offsets ~ N(0, spread²), head ~ N(0, 1)."""

    def draw(backbone: Backbone, layout: str, rows: int, seed: int = 0, spread: float = 0.1) -> np.ndarray:
        generator = np.random.default_rng(seed)
        offsets = spread * generator.standard_normal(layout_for(backbone.decoder, layout).offsets)
        return np.concatenate([offsets, generator.standard_normal(rows * backbone.width)]).astype(np.float32)

    return draw


def _model(name: str) -> Any:
    common = {"vocab_size": VOCABULARY, "max_position_embeddings": 512}
    if name in SIZES:
        return Qwen3ForCausalLM(Qwen3Config(**common, **SIZES[name]))
    if name == "llama":
        return LlamaForCausalLM(LlamaConfig(**common, **SIZES["two layers"]))
    if name == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**common, **sizes(32, 48, 4, 2, 8, 2, False)))
    if name.startswith("mistral"):
        window = 8 if name == "mistral, sliding" else None
        return MistralForCausalLM(MistralConfig(**common, **SIZES["untied"], sliding_window=window))
    if name == "opt":  # as OPT-350m: its states are projected to another width than the one it names
        small = {"hidden_size": 32, "word_embed_proj_dim": 16, "ffn_dim": 48, "num_hidden_layers": 2}
        return OPTForCausalLM(OPTConfig(**common, **small, num_attention_heads=2, do_layer_norm_before=False))
    if name == "gemma3":  # it also sees
        eye = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        eye |= {"image_size": 28, "patch_size": 14}
        text = {**common, **SIZES["two layers"], "sliding_window": 16}
        return Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=eye, mm_tokens_per_image=1))
    if name == "gpt2":
        return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=512, n_embd=32, n_layer=2, n_head=2))
    assert name == "bert"
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    return BertModel(BertConfig(vocab_size=VOCABULARY, max_position_embeddings=64, **small))


@torch.no_grad()
def _roughen(model: Any) -> None:
    """Weights as uneven as trained ones: transformers' own initialisation (0.02, norms 1) hides errors."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            parameter.normal_(std=parameter.shape[1] ** -0.5)
        else:
            parameter.add_(0.2 * torch.randn_like(parameter)) if "norm" in name else parameter.normal_(std=0.1)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine that refuses connections (bound, but nobody listens)."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
