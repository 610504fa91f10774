"""A backbone of Qwen3-0.6B's shape with random weights, and transcripts of an exact number of tokens for it.

The sizes are those of the released router's backbone (Qwen3-0.6B): nothing is fetched, and a timing depends on
the shape alone. Its tokenizer knows one word per id, so that a text of n words has n tokens.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

from models.fugu.forward.backbone import Backbone
from models.fugu.forward.layout import layout_for

VOCABULARY = 151_936
WORKERS = tuple(f"worker-{i}" for i in range(7))
ROWS = len(WORKERS) + 3


def device() -> str:
    """CUDA where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def card() -> str:
    """What computes, by name."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} threads of a CPU"


def backbone(seed: int = 0, device: str = device(), layers: int = 28, **options: int) -> Backbone:
    """The backbone, float32 on the CPU and bfloat16 on CUDA; `layers`: fewer of them for a smaller one of the same
    width; `options` as `Backbone` takes them."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=40_960,
        tie_word_embeddings=True,
    )
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    model = Qwen3Model(config).to(device, kind).eval().requires_grad_(False)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    return Backbone(model, tokenizer, Path("random"), "random", graphs=True, **options)


def transcript(tokens: int, seed: int) -> str:
    """Words as often as they are in a text: the k-th most frequent one has a share of about 1/k."""
    draws = np.random.default_rng(seed)
    ranks = np.exp(draws.uniform(0, np.log(VOCABULARY), tokens)).astype(int) % VOCABULARY
    return " ".join(f"w{rank}" for rank in ranks)


def vector(backbone: Backbone, layout: str, seed: int = 0) -> np.ndarray:
    """Offsets as large as trained ones (standard deviation 0.1), a head whose logits are a few units large."""
    draws = np.random.default_rng(seed)
    offsets = 0.1 * draws.standard_normal(layout_for(backbone.decoder, layout).offsets)
    head = draws.standard_normal(ROWS * backbone.width) * (4 / backbone.width**0.5)
    return np.concatenate([offsets, head]).astype(np.float32)


def plain(backbone: Backbone, texts: Sequence[str]) -> Callable[[], Tensor]:
    """The rival: transformers' own forward of the backbone on all tokens of `texts` (of one length)."""
    ids = torch.tensor(backbone.tokenizer(list(texts))["input_ids"], device=backbone.device)

    @torch.inference_mode()
    def forward() -> Tensor:
        states: Tensor = backbone.model(input_ids=ids, use_cache=False).last_hidden_state
        return states

    return forward


def interleaved(runs: Sequence[Callable[[], object]], times: int) -> list[list[float]]:
    """Seconds of each of `runs`, measured `times` times in turn, the order reversed every time: drift hits all."""
    seconds: list[list[float]] = [[] for _ in runs]
    for repeat in range(times):
        for index in (range(len(runs)), reversed(range(len(runs))))[repeat % 2]:
            seconds[index].append(timed(runs[index]))
    return seconds


def timed(run: Callable[[], object]) -> float:
    """Seconds of one run, to the last kernel."""
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def over(ours: Sequence[float], rival: Sequence[float]) -> float:
    """The median of the ratios, pair by pair."""
    return statistics.median(a / b for a, b in zip(ours, rival, strict=True))
