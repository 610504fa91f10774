"""A causal language model that answers: prompt by chat template, then tokens one by one, with stops and cancelling."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers.decoders import DecodeStream
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from deployments.local.prompt import PLAIN_STOPS, merged, plain_prompt
from models.errors import BadInput


@dataclass(frozen=True)
class Wanted:
    """How to answer. `options`: fields of transformers' GenerationConfig; what is left out is as the model's own."""

    max_tokens: int
    options: Mapping[str, Any]
    seed: int | None = None
    stop: tuple[str, ...] = ()
    presence: float = 0.0
    frequency: float = 0.0


@dataclass(frozen=True)
class Ended:
    """How an answer ended. `finish_reason`: `stop`, `length` or `cancelled`; `tokens`: that were generated."""

    finish_reason: str
    tokens: int


class LanguageModel:
    """A model with its tokenizer. `generate` is called by one thread at a time."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.has_template = bool(tokenizer.chat_template)
        text = model.config.get_text_config()
        self.context = int(getattr(text, "max_position_embeddings", 0) or 2**20)
        """Tokens of prompt and answer together."""
        own = model.generation_config.eos_token_id
        ends = own if isinstance(own, list) else [own]
        self._ends = sorted({end for end in (*ends, tokenizer.eos_token_id) if end is not None})

    @classmethod
    def load(cls, folder: Path) -> LanguageModel:
        """Load on the GPU in bfloat16 where there is one, else on the CPU in float32.

        Raises BadInput where the folder holds no causal model with a fast tokenizer.
        """
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            raise BadInput(f"{folder} cannot be loaded as a causal language model: {reason}", "model") from None
        if not getattr(tokenizer, "is_fast", False):
            raise BadInput(f"{folder} has no fast tokenizer (tokenizer.json)", "model")
        return cls(model.to(device).eval().requires_grad_(False), tokenizer)

    def prompt(self, messages: Sequence[Mapping[str, str]], arguments: Mapping[str, Any]) -> list[int]:
        """The token ids of a conversation (roles system, user and assistant), up to where the answer begins.

        `arguments`: of the chat template. Raises BadInput where the template refuses the conversation.
        """
        if not self.has_template:
            return list(self.tokenizer(plain_prompt(messages)).input_ids)
        from jinja2 import TemplateError

        try:
            text = self._rendered(messages, arguments)
        except TemplateError:
            try:  # many templates know no system message, or want users and assistants to alternate
                text = self._rendered(merged(messages), arguments)
            except TemplateError as error:
                raise BadInput(f"the model's chat template refuses the messages: {error}", "messages") from None
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _rendered(self, messages: Sequence[Mapping[str, str]], arguments: Mapping[str, Any]) -> str:
        of = {**arguments, "add_generation_prompt": True, "tokenize": False}
        return str(self.tokenizer.apply_chat_template([dict(message) for message in messages], **of))

    def generate(self, ids: Sequence[int], wanted: Wanted, say: Callable[[str], None], cancelled: Event) -> Ended:
        """Answer token by token, each text to `say`, until an end token, a stop, the limit, or `cancelled`."""
        torch.manual_seed(wanted.seed) if wanted.seed is not None else torch.seed()
        most = min(wanted.max_tokens, self.context - len(ids))
        config = copy.deepcopy(self.model.generation_config)
        fixed = {"max_new_tokens": most, "max_length": None, "num_beams": 1, "num_return_sequences": 1}
        config.update(**wanted.options, **fixed, eos_token_id=self._ends or None)
        if config.pad_token_id is None:
            config.pad_token_id = self._ends[0] if self._ends else 0
        stops = wanted.stop if self.has_template else (*wanted.stop, *PLAIN_STOPS)
        speaker = _Speaker(self.tokenizer, self._ends, stops, say, cancelled, leading=self.has_template)
        given = torch.tensor([list(ids)], device=self.model.device)
        penalties = _Penalties(len(ids), wanted.presence, wanted.frequency)
        with torch.inference_mode():
            self.model.generate(
                given,
                attention_mask=torch.ones_like(given),
                generation_config=config,
                logits_processor=LogitsProcessorList([penalties] if penalties.matters else []),
                stopping_criteria=StoppingCriteriaList([speaker]),
            )
        speaker.finish()
        return Ended(speaker.reason or "length", speaker.tokens)


class _Speaker(StoppingCriteria):
    """Reads each new token, says its text, and stops where it has to. It is asked once after each token.

    Text that may be the beginning of a stop is held back until that is known.
    """

    def __init__(
        self,
        tokenizer: Any,
        ends: Sequence[int],
        stops: Sequence[str],
        say: Callable[[str], None],
        cancelled: Event,
        leading: bool,
    ) -> None:
        self.tokens, self.reason = 0, ""
        self._decoder, self._tokenizer = DecodeStream(skip_special_tokens=True), tokenizer.backend_tokenizer
        self._ends, self._stops = frozenset(ends), tuple(stops)
        self._say, self._cancelled = say, cancelled
        self._held, self._leading = "", leading

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.tokens += 1
        token = int(input_ids[0, -1])
        if token in self._ends:
            self.reason = "stop"
        elif text := self._decoder.step(self._tokenizer, token):
            self._add(text)
        if not self.reason and self._cancelled.is_set():
            self.reason = "cancelled"
        return torch.tensor([bool(self.reason)], device=input_ids.device)

    def finish(self) -> None:
        """Say what was held back."""
        if self._held:
            self._say(self._held)
            self._held = ""

    def _add(self, text: str) -> None:
        self._held += text if self._leading else text.lstrip()
        self._leading = self._leading or bool(self._held)
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            self.reason, self._held = "stop", self._held[: min(places)]
            return
        kept = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        said, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        if said:
            self._say(said)


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` with which `stop` begins."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)


class _Penalties(LogitsProcessor):
    """OpenAI's penalties for tokens that the answer has already: one for each use, one for any."""

    def __init__(self, prompt: int, presence: float, frequency: float) -> None:
        self._prompt, self._presence, self._frequency = prompt, presence, frequency
        self.matters = bool(presence or frequency)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        counts = torch.bincount(input_ids[0, self._prompt :], minlength=scores.shape[-1])[None]
        return scores - self._presence * (counts > 0) - self._frequency * counts
