"""Texts to hidden states: a Hugging Face causal LM at the penultimate token, an encoder by mean pooling.

Source: TRINITY (arXiv 2512.04695): the final-norm hidden state at token −2 feeds a linear head. The last
token is therefore dropped before the forward, and the vocabulary matrix is never loaded. Encoders are a
documented departure: the mean of their last states over all tokens. What does not depend on a candidate is
computed once per text and kept, within a bound in bytes: the state of an unadapted text, and the states below
a layer.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from cachetools import LRUCache
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.errors import BadInput
from models.fugu import svf
from models.fugu.decoder import Decoder, Map, runs_by_hand
from models.fugu.hub import local_folder

Features = NDArray[np.float32]

MEMO_BYTES = 1 << 28
"""Bound of the states that a backbone remembers: at width 256 and 50 tokens some 5,000 texts under `late`."""

_BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}
"""Tokens of a batch, padding included: beyond it a two-core CPU gains nothing (measured, width 256)."""


def share_cores(parts: int) -> None:
    """Give each of so many forwards at once its part of the cores: more threads would wait for each other."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // parts))


class Backbone:
    """A frozen model with its tokenizer. Safe to share between threads and between routers.

    `kind`: "causal" or "encoder". `decoder`: the layers by hand, where the model is Qwen- or Llama-style.
    A text of one token is read at that token. A text beyond the model's context keeps its end (with an
    encoder its beginning, as it was trained).
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        folder: Path,
        source: str,
        revision: str | None = None,
        cache: Path | None = None,
        memo_bytes: int = MEMO_BYTES,
    ) -> None:
        self.model, self.tokenizer, self.folder = model, tokenizer, folder
        self.source, self.revision = source, revision
        self.kind: Literal["causal", "encoder"] = _kind(model.config)
        by_hand = self.kind == "causal" and runs_by_hand(model.config)
        self.decoder = Decoder(model) if by_hand else None
        self.width: int = model.config.hidden_size
        self.layer_count: int = model.config.num_hidden_layers
        self._cache = cache
        self._factors: dict[str, svf.Factors] = {}
        self._factoring = threading.Lock()
        self._memo = _Memo(memo_bytes)

    @classmethod
    def load(
        cls,
        path_or_name: str | Path,
        *,
        revision: str | None = None,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        cache: Path | None = None,
        memo_bytes: int = MEMO_BYTES,
    ) -> Backbone:
        """A folder, or a hub name at `revision`.

        `cache`: where factorisations are kept; `memo_bytes`: bound of the states that are remembered. By default
        float32 on the CPU, bfloat16 on CUDA where there is one. Raises BadInput where nothing is found under that
        name, the weights are no safetensors, or the model is an encoder-decoder.
        """
        from transformers import AutoConfig, AutoTokenizer

        folder = local_folder(path_or_name, revision)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or (torch.bfloat16 if device.startswith("cuda") else torch.float32)
        try:
            if AutoConfig.from_pretrained(folder).is_encoder_decoder:
                raise BadInput(f"{path_or_name} is an encoder-decoder; a causal LM or an encoder is needed", "backbone")
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = _load_model(folder, dtype)
        except (OSError, ValueError) as error:
            raise BadInput(f"{path_or_name} cannot be loaded as a backbone: {error}", "backbone") from None
        model = model.to(device).eval().requires_grad_(False)
        source = str(folder.resolve() if Path(path_or_name).is_dir() else path_or_name)
        return cls(model, tokenizer, folder, source, revision, cache, memo_bytes)

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over the names and bytes of the folder's configuration, weights and tokenizer."""
        sha = hashlib.sha256()
        for path in sorted(self.folder.iterdir()):
            if path.suffix in (".json", ".safetensors", ".txt", ".model") and path.name != "generation_config.json":
                with path.open("rb") as file:
                    sha.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
        return sha.hexdigest()

    @property
    def layouts(self) -> tuple[str, ...]:
        """The layouts that this backbone can take."""
        whole = self.decoder is not None and self.decoder.layer_count >= 2
        return ("released", "late", "head") if whole else ("head",)

    @property
    def device(self) -> torch.device:
        """Where the model's numbers live."""
        device: torch.device = self.model.device
        return device

    def features(self, texts: Sequence[str]) -> Features:
        """The unadapted states of `texts`, [B, width] float32; a remembered text is not computed again."""
        if not len(texts):
            return np.zeros((0, self.width), np.float32)
        return np.stack([state.numpy() for state in self._remembered("feature", texts, self._states)])

    def hidden(self, texts: Sequence[str], maps: Mapping[str, Map], first_layer: int) -> Tensor:
        """The states of `texts` under adapted matrices, [B, width] float32, differentiable through `maps`.

        `first_layer`: the lowest layer that `maps` touches (0 with the embedding). What lies below is shared,
        and so is the work for equal texts.
        """
        if not maps:
            return torch.from_numpy(self.features(texts)).to(self.device)
        place = {text: index for index, text in enumerate(dict.fromkeys(texts))}
        return self._adapted(list(place), maps, first_layer)[[place[text] for text in texts]]

    def factors(self, name: str) -> tuple[svf.Factors, Tensor | None]:
        """A matrix's factors and its bias; computed once a process, and once at all with a cache folder."""
        module = self._by_hand().module(name)
        with self._factoring:
            if name not in self._factors:
                self._factors[name] = svf.factor(module.weight, self._cache)
        return self._factors[name], getattr(module, "bias", None)

    def _adapted(self, texts: Sequence[str], maps: Mapping[str, Map], first: int) -> Tensor:
        decoder = self._by_hand()
        if first == 0:
            ids = self._tokens(texts)
            return self._in_batches(ids, lambda ids, read: decoder.upper(decoder.embed(ids, maps), read, maps, 0))
        lower = self._remembered(f"layer {first}", texts, lambda missing: self._lower(missing, first))
        return self._in_batches(lower, lambda states, read: decoder.upper(states, read, maps, first))

    def _by_hand(self) -> Decoder:
        if self.decoder is None:
            raise BadInput("this backbone's layers are not known by name; it takes layout 'head'", "layout")
        return self.decoder

    def _tokens(self, texts: Sequence[str]) -> list[Tensor]:
        """What is fed to the model: token ids per text, for a causal model without the last one."""
        limit = getattr(self.model.config, "max_position_embeddings", None) or 1 << 30
        fed = []
        for ids in self.tokenizer(list(texts), verbose=False)["input_ids"]:
            if not ids:
                raise BadInput("a text without a token has no state", "messages")
            if self.kind == "encoder":
                ids = ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]
            else:
                ids = (ids[:-1] if len(ids) > 1 else ids)[-limit:]
            fed.append(torch.tensor(ids))
        return fed

    @torch.no_grad()
    def _states(self, texts: Sequence[str]) -> list[Tensor]:
        states = self._in_batches(self._tokens(texts), self._plain).cpu()
        return [state.clone() for state in states]

    def _plain(self, ids: Tensor, read: Tensor) -> Tensor:
        if self.decoder is not None:
            return self.decoder.upper(self.decoder.embed(ids, {}), read, {}, 0)
        mask = torch.arange(ids.shape[1], device=ids.device)[None] <= read[:, None]
        states: Tensor = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        if self.kind == "encoder":
            return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return states[torch.arange(len(ids), device=ids.device), read]

    @torch.no_grad()
    def _lower(self, texts: Sequence[str], end: int) -> list[Tensor]:
        decoder, ids = self._by_hand(), self._tokens(texts)
        lower: list[Tensor] = [torch.empty(0)] * len(ids)
        for chosen in _batches([len(row) for row in ids], self._batch_tokens):
            batch = pad_sequence([ids[i] for i in chosen], batch_first=True).to(self.device)
            for i, states in zip(chosen, decoder.lower(decoder.embed(batch, {}), {}, 0, end), strict=True):
                lower[i] = states[: len(ids[i])].clone()
        return lower

    def _in_batches(self, rows: Sequence[Tensor], run: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """`run(padded [b, T, …], last positions [b]) -> [b, width]` over batches of like length, in order."""
        order, results = [], []
        for chosen in _batches([len(row) for row in rows], self._batch_tokens):
            batch = pad_sequence([rows[i] for i in chosen], batch_first=True).to(self.device)
            read = torch.tensor([len(rows[i]) - 1 for i in chosen], device=self.device)
            results.append(run(batch, read).float())
            order += chosen
        return torch.cat(results)[torch.tensor(order, device=self.device).argsort()]

    @property
    def _batch_tokens(self) -> int:
        return _BATCH_TOKENS.get(self.device.type, 4096)

    def _remembered(
        self, what: str, texts: Sequence[str], compute: Callable[[Sequence[str]], list[Tensor]]
    ) -> list[Tensor]:
        """compute(texts), of each distinct text at most once while it is remembered."""
        known = {text: self._memo.get((what, text)) for text in texts}
        missing = [text for text, state in known.items() if state is None]
        for text, state in zip(missing, compute(missing) if missing else (), strict=True):
            known[text] = state
            self._memo.put((what, text), state)
        return [state for state in (known[text] for text in texts) if state is not None]


class _Memo:
    """The most recently used tensors, at most `limit` bytes of them."""

    def __init__(self, limit: int) -> None:
        self._kept: LRUCache[tuple[str, str], Tensor] = LRUCache(limit, getsizeof=lambda tensor: tensor.nbytes)
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str]) -> Tensor | None:
        with self._lock:
            return self._kept.get(key)

    def put(self, key: tuple[str, str], tensor: Tensor) -> None:
        with self._lock:
            if tensor.nbytes <= self._kept.maxsize:
                self._kept[key] = tensor


def _batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices in batches: at most `tokens` with padding, the shortest at least 3/4 of the longest."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[batch[0]] if batch else 0
        if batch and ((len(batch) + 1) * longest > tokens or 4 * lengths[index] < 3 * longest):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _load_model(folder: Path, dtype: torch.dtype) -> Any:
    """The model without its output matrix. Raises ValueError where weights that are read are not in the files."""
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # the weights are there in a second, and every log would show the bar
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns of the output matrix, which is left out on purpose
    try:
        model, found = AutoModel.from_pretrained(folder, dtype=dtype, use_safetensors=True, output_loading_info=True)
    finally:
        logging.set_verbosity(before)
    missing = sorted(key for key in found["missing_keys"] if not key.startswith("pooler."))  # no pooler is read
    if missing:
        raise ValueError(f"the files hold no {', '.join(missing[:3])}")
    return model


def _kind(config: Any) -> Literal["causal", "encoder"]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    architecture = (config.architectures or [""])[0]
    causal = architecture.endswith(("ForCausalLM", "LMHeadModel"))
    return "encoder" if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not causal else "causal"
