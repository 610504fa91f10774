"""Texts to hidden states: a Hugging Face causal LM at the penultimate token, an encoder by mean pooling.

Source: TRINITY (arXiv 2512.04695): the final-norm hidden state at token −2 feeds a linear head. The last
token is therefore dropped before the forward, and the vocabulary matrix is never loaded. Encoders are a
documented departure: the mean of their last states over all tokens. What does not depend on a candidate is
computed once per text and cached, within a limit in bytes: unadapted states, states below a layer, and
(`resumed`) the keys and values of conversations that continue.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import BadInput
from models.fugu.forward import svf
from models.fugu.forward.batches import BATCH_TOKENS, MEMO_BYTES, Memo, batches, in_batches, padded
from models.fugu.forward.conversations import Conversations
from models.fugu.forward.decoder import KNOWN, Decoder, runs_by_hand
from models.fugu.forward.graphs import Graphs
from models.fugu.forward.hub import local_folder
from models.fugu.forward.loading import digest_of, kind_of, load_model, text_config, width_of
from models.fugu.forward.prefixes import PREFIX_BYTES, Prefixes
from models.fugu.forward.products import Int8Product, Product, int8_is_exact
from models.fugu.forward.reading import READ_TOKENS, Reader
from models.fugu.forward.scaling import Scaling
from models.fugu.forward.traced import Traced

Features = NDArray[np.float32]


class Backbone:
    """A frozen model with its tokenizer. Safe to share between threads and between routers.

    `kind`: "causal" or "encoder". `decoder`: our own forward, for known model types (`decoder.KNOWN`), else None.
    `reader`: tokenises texts, `read_tokens` at most of each. `graphs`: decide by CUDA graphs where the model is on
    CUDA; off by default, since they have not been measured on a GPU yet.
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
        prefix_bytes: int = PREFIX_BYTES,
        memo_dtype: torch.dtype | None = None,
        product: type[Product] = Product,
        read_tokens: int = READ_TOKENS,
        graphs: bool = False,
    ) -> None:
        self.model, self.tokenizer, self.folder = model, tokenizer, folder
        self.source, self.revision = source, revision
        self.kind: Literal["causal", "encoder"] = kind_of(model.config)
        by_hand = self.kind == "causal" and runs_by_hand(model.config)
        self.decoder = Decoder(model, product) if by_hand else None
        captures = graphs and model.device.type == "cuda"
        self.graphs = Graphs(self.decoder) if captures and self.decoder is not None else None
        self._traced = Traced(self.decoder) if self.decoder is not None and self.decoder.traces else None
        self._text = text_config(model.config)
        self.width = self._text.hidden_size if by_hand else width_of(model)
        self.reader = Reader(tokenizer, read_tokens, self._text, encoder=self.kind == "encoder")
        self.layer_count: int = getattr(self._text, "num_hidden_layers", 0)
        self._cache = cache
        self._factors: dict[str, svf.Factors] = {}
        self._factoring = threading.Lock()
        self._memo, self.memo_dtype = Memo(memo_bytes), memo_dtype or model.dtype
        self._prefixes = Prefixes(prefix_bytes)
        self._batch_tokens = BATCH_TOKENS.get(model.device.type, 2048)

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
        prefix_bytes: int = PREFIX_BYTES,
        memo_dtype: torch.dtype | None = None,
        read_tokens: int = READ_TOKENS,
        graphs: bool = False,
    ) -> Backbone:
        """A folder, or a hub name at `revision`.

        `cache`: folder of factorisations; `memo_bytes`: limit of cached states; `prefix_bytes`: limit of cached keys
        and values; `memo_dtype`: a lower precision for cached states below a layer; `read_tokens`: maximum read of a
        text; `graphs`: see the class. By default float32 on the CPU, bfloat16 on CUDA if available. Raises BadInput
        if no model has that name, the safetensors are incomplete, or it reads no plain text or is an encoder-decoder.
        """
        from transformers import AutoConfig, AutoTokenizer

        folder = local_folder(path_or_name, revision)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or (torch.bfloat16 if device.startswith("cuda") else torch.float32)
        try:
            if AutoConfig.from_pretrained(folder).is_encoder_decoder:
                raise BadInput(f"{path_or_name} is an encoder-decoder; a causal LM or an encoder is needed", "backbone")
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = load_model(folder, dtype)
        except (OSError, ValueError) as error:
            raise BadInput(f"{path_or_name} cannot be loaded as a backbone: {error}", "backbone") from None
        model = model.to(device).eval().requires_grad_(False)
        source = str(folder.resolve() if Path(path_or_name).is_dir() else path_or_name)
        memory = memo_bytes, prefix_bytes, memo_dtype
        return cls(model, tokenizer, folder, source, revision, cache, *memory, read_tokens=read_tokens, graphs=graphs)

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over the names and bytes of the folder's configuration, weights and tokenizer."""
        return digest_of(self.folder)

    @cached_property
    def token_flops(self) -> float:
        """About what the forward of one token takes: a multiplication and an addition for each weight."""
        return 2.0 * sum(weight.numel() for weight in self.model.parameters())

    @property
    def tied(self) -> bool:
        """Whether the embedding is also the output matrix."""
        return self.decoder is not None and self.decoder.tied

    @property
    def device(self) -> torch.device:
        """The model's device."""
        device: torch.device = self.model.device
        return device

    def features(self, texts: Sequence[str]) -> Features:
        """The unadapted states of `texts`, [B, width] float32, cached by text."""
        if not len(texts):
            return np.zeros((0, self.width), np.float32)
        return np.stack([state.numpy() for state in self._memo.each("feature", texts, self._states)])

    def hidden(
        self, texts: Sequence[str], scaling: Scaling | None = None, owners: Sequence[int] | None = None
    ) -> Tensor:
        """The states of `texts` under scaled matrices, [B, width] float32, differentiable in the gains.

        `owners`: index of each text's candidate in the scaling (default: the first). Layers below the lowest scaled
        matrix are computed once for all candidates, and equal texts of one candidate once.
        """
        if scaling is None or not len(texts):
            return torch.from_numpy(self.features(texts)).to(self.device)
        first = {text: index for index, text in reversed(list(enumerate(texts)))}
        wanted = list(zip(texts, owners if owners is not None else [0] * len(texts), strict=True))
        # A text's candidates are adjacent: what they have in common is computed once per batch.
        rows = sorted(dict.fromkeys(wanted), key=lambda row: (first[row[0]], row[1]))
        place = {row: index for index, row in enumerate(rows)}
        return self._scaled(rows, scaling)[[place[row] for row in wanted]]

    @torch.no_grad()
    def resumed(self, texts: Sequence[str], scaling: Scaling | None, owner: str) -> Tensor:
        """`hidden` of one candidate, computing only the tokens after the longest cached prefix.

        `owner`: digest of the candidate's offsets, under which keys and values are cached for the next turn.
        """
        graphs = self.graphs if scaling is None or scaling.static else None
        if not (self.resumes or graphs) or not len(texts):
            return self.hidden(texts, scaling)
        if len(distinct := list(dict.fromkeys(texts))) < len(texts):
            return self.resumed(distinct, scaling, owner)[[distinct.index(text) for text in texts]]
        maps, ids = {} if scaling is None else scaling.maps(), self.reader.tokens(texts)
        if graphs is not None and not self.resumes:
            lengths = [len(row) for row in ids]
            return in_batches(lengths, self._batch_tokens, lambda some: graphs.run([ids[i] for i in some], maps, owner))
        conversations = Conversations(self._by_hand(), self._prefixes, self._batch_tokens)
        return conversations.states(ids, maps, owner, self._traced if scaling is None or scaling.static else None)

    @property
    def resumes(self) -> bool:
        """Whether a conversation's next turn reuses the last one's keys and values.

        Only with a cache, and only in float32: the two ways of computing differ by rounding, which exceeds 1e-3 in
        bfloat16 and int8 (models/fugu/forward/products.py).
        """
        exact = self.decoder is not None and self.decoder.exact and self.model.dtype == torch.float32
        return exact and self._prefixes.limit > 0

    @cached_property
    def in_int8(self) -> Backbone:
        """The same model with int8 products for unadapted matrices; factors are shared, cached states are not.

        Callers check its decisions first (models/fugu/learn/reduced.py). Raises BadInput where int8 is unavailable: on
        CUDA, in half precision, for layers that are not known by name, and on a CPU whose int8 sums are not exact.
        """
        self._by_hand()
        if self.device.type != "cpu" or self.model.dtype != torch.float32:
            raise BadInput("int8 needs a CPU and float32 weights", "precision")
        if not int8_is_exact():
            raise BadInput("int8 needs a CPU with VNNI that oneDNN may use: its sums are not exact here", "precision")
        of = self.model, self.tokenizer, self.folder, self.source, self.revision, self._cache
        made = Backbone(*of, self._memo.limit, self._prefixes.limit, self.memo_dtype, Int8Product, self.reader.most)
        made._factors, made._factoring = self._factors, self._factoring
        return made

    def forget(self) -> None:
        """Clear the caches of texts and conversations."""
        self._memo.clear()
        self._prefixes.clear()

    def factors(self, name: str) -> tuple[svf.Factors, Tensor | None]:
        """A matrix's factors and its bias; computed once per process, with a cache folder only once."""
        module = self._by_hand().module(name)
        with self._factoring:
            if name not in self._factors:
                self._factors[name] = svf.factor(module.weight, self._cache)
        return self._factors[name], getattr(module, "bias", None)

    def _scaled(self, rows: Sequence[tuple[str, int]], scaling: Scaling) -> Tensor:
        decoder, first, embeds = self._by_hand(), scaling.first_layer, scaling.embeds
        texts = list(dict.fromkeys(text for text, _ in rows))
        inputs = dict(zip(texts, self.reader.tokens(texts) if first == 0 else self._below(first, texts), strict=True))

        def run(chosen: list[int]) -> Tensor:
            here = {text: index for index, text in enumerate(dict.fromkeys(rows[i][0] for i in chosen))}
            given, last = padded([inputs[text] for text in here], self.device)
            shared = len(here) < len(chosen)
            which = torch.tensor([here[rows[i][0]] for i in chosen], device=self.device)
            owners = torch.tensor([rows[i][1] for i in chosen], device=self.device)
            maps = scaling.maps(owners if scaling.count > 1 else None, which if shared else None)
            states = decoder.embed(given, maps) if first == 0 else given.to(self.model.dtype)
            return decoder.upper(states, last[which], maps, first, which if shared and not embeds else None)

        return in_batches([len(inputs[text]) for text, _ in rows], self._batch_tokens, run)

    def _by_hand(self) -> Decoder:
        if self.decoder is None:
            raise BadInput(f"layers are known by name only for {KNOWN}; this backbone supports only 'head'", "layout")
        return self.decoder

    @torch.no_grad()
    def _states(self, texts: Sequence[str]) -> list[Tensor]:
        ids = self.reader.tokens(texts)
        lengths = [len(row) for row in ids]
        states = in_batches(
            lengths, self._batch_tokens, lambda some: self._plain(*padded([ids[i] for i in some], self.device))
        )
        return [state.clone() for state in states.cpu()]

    def _plain(self, ids: Tensor, read: Tensor) -> Tensor:
        if self.decoder is not None:
            return self.decoder.upper(self.decoder.embed(ids, {}), read, {}, 0)
        mask = torch.arange(ids.shape[1], device=ids.device)[None] <= read[:, None]
        states: Tensor = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        if self.kind == "encoder":
            return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return states[torch.arange(len(ids), device=ids.device), read]

    def _below(self, layer: int, texts: Sequence[str]) -> list[Tensor]:
        """The unadapted states [T, width] at the input of `layer`."""
        return self._memo.each(f"layer {layer}", texts, lambda missing: self._lower(missing, layer))

    @torch.no_grad()
    def _lower(self, texts: Sequence[str], end: int) -> list[Tensor]:
        decoder, ids = self._by_hand(), self.reader.tokens(texts)
        lower: list[Tensor] = [torch.empty(0)] * len(ids)
        for chosen in batches([len(row) for row in ids], self._batch_tokens):
            batch, _ = padded([ids[i] for i in chosen], self.device)
            for i, states in zip(chosen, decoder.lower(decoder.embed(batch, {}), end), strict=True):
                lower[i] = states[: len(ids[i])].to(self.memo_dtype, copy=True)
        return lower
