"""Our own forward of Qwen-, Llama- and Mistral-style decoders, which computes only what is needed.

It can do what the model's own forward cannot: replace single matrices by a function (`maps`) for one call, start
above the first layer or after tokens whose keys and values are known, and compute the last layer only at the
position that is read. Texts are padded on the right: under causal attention no earlier
position sees the padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.fugu.forward.products import Product

Map = Callable[[Tensor], Tensor]
"""Replaces a matrix: [..., n] -> [..., m] for a linear one, token ids -> [..., d] for the embedding."""

EMBEDDING, OUTPUT = "embed_tokens", "lm_head"
LAYER_MATRICES = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
"""The seven matrices of a layer, in `state_dict` order."""

INPUT_MATRICES = LAYER_MATRICES[:3]
"""Those that read a layer's input."""

_TYPES = ("llama", "mistral", "qwen2", "qwen3")

KNOWN = "llama, mistral (without a sliding window), qwen2 and qwen3 (every layer with full attention)"
"""The model types whose matrices can be scaled, for messages."""

Seen = tuple[Tensor, Tensor]
"""What later tokens need of earlier ones, in one layer: keys and values, [B, P, heads, head]. In the last layer the
values are the layer's normed input [B, P, d]: only one position attends, which is cheaper than computing all values."""


def runs_by_hand(config: Any) -> bool:
    """Whether `Decoder` supports the module names and the arithmetic of a model with this configuration."""
    layer_types = getattr(config, "layer_types", None) or ()
    if config.model_type == "mistral" and config.sliding_window is not None:  # its configuration has no `layer_types`
        return False
    return config.model_type in _TYPES and all(kind == "full_attention" for kind in layer_types)


@dataclass(frozen=True)
class Past:
    """Keys and values of earlier tokens, by layer, padded on the left. `lengths` [B]: earlier tokens of each text."""

    seen: Sequence[Seen]
    lengths: Tensor


@dataclass(frozen=True)
class _Span:
    """The positions of a run: rotations [1 or B, T, 1, head], and the attention mask ([B, T, P + T]; None: causal)."""

    cos: Tensor
    sin: Tensor
    mask: Tensor | None
    seen: Sequence[Seen]

    def join(self, index: int, keys: Tensor, values: Tensor) -> Seen:
        """Keys and values of layer `index`, earlier tokens first."""
        if not self.seen:
            return keys, values
        return torch.cat((self.seen[index][0], keys), 1), torch.cat((self.seen[index][1], values), 1)


class Decoder:
    """Runs the layers of `model` (the base model, without its output matrix). `product`: its linear layers."""

    def __init__(self, model: Any, product: type[Product] = Product) -> None:
        self._model, self._product_of = model, product
        self._products: dict[str, Product] = {}
        self.exact = product.exact
        self.layer_count: int = len(model.layers)
        self.tied = bool(model.config.tie_word_embeddings)

    @property
    def device(self) -> torch.device:
        """The model's device."""
        device: torch.device = self._model.device
        return device

    @cached_property
    def traces(self) -> bool:
        """Whether `resume` without a past can be traced: on a CPU, in float32, with products that a trace can hold."""
        linear = [name for name, each in self._model.layers.named_modules() if isinstance(each, torch.nn.Linear)]
        plain = self.device.type == "cpu" and self._model.dtype == torch.float32
        return plain and all(self._product(f"layers.{name}").traces for name in linear)

    @cached_property
    def seen_bytes(self) -> int:
        """Bytes per token of `Seen`, in all layers."""
        attentions = [layer.self_attn for layer in self._model.layers]
        keys = sum(each.k_proj.out_features for each in attentions)
        values = sum(each.v_proj.out_features for each in attentions[:-1]) + attentions[-1].v_proj.in_features
        size: int = self._model.dtype.itemsize
        return (keys + values) * size

    def module(self, name: str) -> Any:
        """A matrix's module by its name below the base model. The output matrix has the embedding's shape."""
        return self._model.get_submodule(EMBEDDING if name == OUTPUT else name)

    def embed(self, ids: Tensor, maps: Mapping[str, Map]) -> Tensor:
        """Token ids [B, T] -> states [B, T, d], the input of layer 0."""
        rows: Tensor = maps.get(EMBEDDING, self._model.embed_tokens)(ids)
        return rows

    def lower(self, states: Tensor, end: int) -> Tensor:
        """States [B, T, d] at the input of layer 0 -> those at the input of layer `end`, unadapted."""
        span = self._span(states, None)
        for index in range(end):
            states, _ = self._layer(index, states, span, {})
        return states

    def upper(
        self, states: Tensor, read: Tensor, maps: Mapping[str, Map], first: int, rows: Tensor | None = None
    ) -> Tensor:
        """States at the input of layer `first` -> final-norm states [B, d] at the positions `read` [B].

        `rows` [B]: index of the given state from which each result continues, where the maps of layer `first` turn
        one state into several results (`Scaling.maps`).
        """
        return self._run(states, read, maps, self._span(states, None), first, rows, lambda seen: None)

    def resume(
        self, states: Tensor, read: Tensor, maps: Mapping[str, Map], past: Past | None
    ) -> tuple[Tensor, list[Seen]]:
        """`upper` from layer 0 for tokens that follow `past`; also returns each layer's `Seen`."""
        known: list[Seen] = []
        return self._run(states, read, maps, self._span(states, past), 0, None, known.append), known

    def _run(
        self,
        states: Tensor,
        read: Tensor,
        maps: Mapping[str, Map],
        span: _Span,
        first: int,
        rows: Tensor | None,
        keep: Callable[[Seen], None],
    ) -> Tensor:
        for index in range(first, self.layer_count - 1):
            states, seen = self._layer(index, states, span, maps, rows if index == first else None)
            keep(seen)
        state, seen = self._last_layer(states, read, span, maps)
        keep(seen)
        normed: Tensor = self._model.norm(state)
        return normed

    def _span(self, states: Tensor, past: Past | None) -> _Span:
        new = torch.arange(states.shape[1], device=states.device)
        mask, positions = None, new[None]
        if past is not None and past.seen:
            before = past.seen[0][0].shape[1]
            positions = past.lengths[:, None] + new
            old = torch.arange(before, device=new.device) >= before - past.lengths[:, None]
            causal = (new <= new[:, None]).expand(len(states), -1, -1)
            mask = torch.cat((old[:, None].expand(-1, len(new), -1), causal), -1)
        cos, sin = self._model.rotary_emb(states, positions)
        half = sin.shape[-1] // 2
        sin = torch.cat((-sin[..., :half], sin[..., half:]), -1)  # the sign of the half that is rotated
        return _Span(cos[:, :, None], sin[:, :, None], mask, past.seen if past is not None else ())

    def _layer(
        self, index: int, states: Tensor, span: _Span, maps: Mapping[str, Map], rows: Tensor | None = None
    ) -> tuple[Tensor, Seen]:
        """One layer at all positions."""
        layer, apply = self._model.layers[index], self._matrices(index, maps)
        attention = layer.self_attn
        normed = layer.input_layernorm(states)
        queries = _heads(attention, apply, "q_proj", "q_norm", normed, span.cos, span.sin)
        keys = _heads(attention, apply, "k_proj", "k_norm", normed, span.cos, span.sin)
        values = apply("self_attn.v_proj", normed).unflatten(-1, (-1, attention.head_dim))
        keys, values = span.join(index, keys, values)
        mixed = F.scaled_dot_product_attention(
            queries.transpose(1, 2),
            keys.transpose(1, 2),
            values.transpose(1, 2),
            attn_mask=None if span.mask is None else span.mask[:, None],
            is_causal=span.mask is None,
            scale=attention.scaling,
            enable_gqa=True,
        )
        states = states if rows is None else states[rows]
        states = states + apply("self_attn.o_proj", mixed.transpose(1, 2).flatten(-2))
        return _feed_forward(layer, apply, states), (keys, values)

    def _last_layer(self, states: Tensor, read: Tensor, span: _Span, maps: Mapping[str, Map]) -> tuple[Tensor, Seen]:
        """The last layer at the position `read` [B] of each text alone, over the keys of all: [B, d].

        Attention mixes linearly, so the normed inputs are mixed first and values computed of the mixture alone.
        """
        index = self.layer_count - 1
        layer, apply = self._model.layers[index], self._matrices(index, maps)
        attention, rows = layer.self_attn, torch.arange(read.shape[0], device=read.device)
        normed = layer.input_layernorm(states)
        at = rows if len(span.cos) > 1 else torch.zeros_like(rows)
        query = _heads(attention, apply, "q_proj", "q_norm", normed[rows, read], span.cos[at, read], span.sin[at, read])
        keys = _heads(attention, apply, "k_proj", "k_norm", normed, span.cos, span.sin)
        keys, inputs = span.join(index, keys, normed)
        grouped = query.unflatten(1, (keys.shape[2], -1))  # [B, key heads, queries of each, head]
        scores = grouped @ keys.permute(0, 2, 3, 1) * attention.scaling
        if span.mask is None:
            hidden = torch.arange(keys.shape[1], device=read.device) > read[:, None]
        else:
            hidden = ~span.mask[rows, read]
        shares = scores.masked_fill(hidden[:, None, None], -torch.inf).float().softmax(-1).to(scores.dtype)
        values = apply("self_attn.v_proj", shares.flatten(1, 2) @ inputs)
        values = values.unflatten(1, grouped.shape[1:3]).unflatten(-1, (keys.shape[2], -1))
        own = values.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)  # each query's own key head
        state = states[rows, read] + apply("self_attn.o_proj", own.flatten(1))
        return _feed_forward(layer, apply, state), (keys, inputs)

    def _matrices(self, index: int, maps: Mapping[str, Map]) -> Callable[[str, Tensor], Tensor]:
        def apply(name: str, x: Tensor) -> Tensor:
            name = f"layers.{index}.{name}"
            return (maps.get(name) or self._product(name))(x)

        return apply

    def _product(self, name: str) -> Product:
        if name not in self._products:
            module = self._model.get_submodule(name)
            self._products[name] = self._product_of(module.weight, module.bias)
        return self._products[name]


def _heads(
    attention: Any, apply: Callable[[str, Tensor], Tensor], name: str, norm: str, x: Tensor, cos: Tensor, sin: Tensor
) -> Tensor:
    """Queries or keys [..., heads, head], normed where the model norms them, rotated to their positions."""
    x = apply(f"self_attn.{name}", x).unflatten(-1, (-1, attention.head_dim))
    if hasattr(attention, norm):
        x = getattr(attention, norm)(x)
    half = x.shape[-1] // 2
    return torch.addcmul(x * cos, torch.cat((x[..., half:], x[..., :half]), dim=-1), sin)


def _feed_forward(layer: Any, apply: Callable[[str, Tensor], Tensor], states: Tensor) -> Tensor:
    normed = layer.post_attention_layernorm(states)
    gated = layer.mlp.act_fn(apply("mlp.gate_proj", normed)) * apply("mlp.up_proj", normed)
    return states + apply("mlp.down_proj", gated)
