"""A local Hugging Face causal language model as a plan writer: loading, prompt tokens, and completions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from models.workers.ask import Message, text_of

Prompt = str | Sequence[Message]
"""Raw text, or messages."""


def load(folder: Path) -> tuple[Any, Any]:
    """The model, ready to answer, and its tokenizer. In single precision on a CPU, as saved on a GPU.

    Trained models are saved in single precision, so they are served as they were trained. Of the folder's generation
    defaults only the special tokens are kept: `generate` would apply the others to every call, and a repetition
    penalty, say, would change the plans in serving and in training.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    place = "cuda" if torch.cuda.is_available() else "cpu"
    kind = "auto" if place == "cuda" else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=kind, local_files_only=True)
    given = model.generation_config
    model.generation_config = GenerationConfig(
        bos_token_id=given.bos_token_id, eos_token_id=given.eos_token_id, pad_token_id=given.pad_token_id
    )
    return model.to(place).eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True)


def prompt_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Token ids of a prompt; messages use the tokenizer's chat template if it has one, else they are raw text."""
    if isinstance(prompt, str):
        return list(tokenizer(prompt)["input_ids"])
    if tokenizer.chat_template:
        messages = [dict(message) for message in prompt]
        return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
    return list(tokenizer("".join(f"{text_of(message.get('content'))}\n\n" for message in prompt))["input_ids"])


class Noise:
    """Gumbel noise on the logits, which makes the greedy choice a sample; each row has its own seed.

    A request's sample then does not depend on the rest of its batch. Temperature 0 leaves a row greedy.
    """

    def __init__(self, temperatures: Sequence[float], seeds: Sequence[int]) -> None:
        self._scale = torch.tensor(temperatures)[:, None]
        self._draws = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        noise = torch.stack([torch.empty(logits.shape[1]).exponential_(generator=draw) for draw in self._draws])
        return logits - (self._scale * noise.log()).to(logits)


def complete(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    max_tokens: int,
    temperatures: Sequence[float],
    seeds: Sequence[int],
) -> list[str]:
    """The completion of each prompt, in one batch; each has its temperature and seed. `model`: as `load` gives it."""
    from transformers import LogitsProcessorList

    rows = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    longest, ending = max(len(row) for row in rows), tokenizer.eos_token_id
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ending
    tokens = torch.tensor([[padding] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    with torch.inference_mode():
        written = model.generate(
            input_ids=tokens.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_tokens,
            do_sample=False,
            logits_processor=LogitsProcessorList([Noise(temperatures, seeds)] if any(temperatures) else []),
            pad_token_id=padding,
        )
    return tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)
