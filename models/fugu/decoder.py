"""The layers of a Qwen- or Llama-style decoder, run by hand, so that nothing needless is computed.

Three things the model's own forward does not offer: single matrices may be replaced by a function (`maps`)
for one call alone, a run may start above the first layer, and in the last layer only the position that is
read is computed. Texts are padded on the right: under causal attention no earlier position sees the padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Map = Callable[[Tensor], Tensor]
"""Stands in for a matrix: [..., n] -> [..., m] for a linear one, token ids -> [..., d] for the embedding."""

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

_TYPES = ("llama", "qwen2", "qwen3")


def runs_by_hand(config: Any) -> bool:
    """Whether a model of this configuration has the names and the arithmetic that `Decoder` knows."""
    layer_types = getattr(config, "layer_types", None) or ()
    return config.model_type in _TYPES and all(kind == "full_attention" for kind in layer_types)


class Decoder:
    """Runs the layers of `model` (the base model, without its output matrix)."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.layer_count: int = len(model.layers)
        self.tied = bool(model.config.tie_word_embeddings)

    def module(self, name: str) -> Any:
        """A matrix's module by its name below the base model. The output matrix has the embedding's shape."""
        return self._model.get_submodule(EMBEDDING if name == OUTPUT else name)

    def embed(self, ids: Tensor, maps: Mapping[str, Map]) -> Tensor:
        """Token ids [B, T] -> states [B, T, d], the input of layer 0."""
        rows: Tensor = maps.get(EMBEDDING, self._model.embed_tokens)(ids)
        return rows

    def lower(self, states: Tensor, maps: Mapping[str, Map], first: int, end: int) -> Tensor:
        """States [B, T, d] at the input of layer `first` -> those at the input of layer `end`."""
        rope = self._rope(states)
        for index in range(first, end):
            states = self._layer(index, states, rope, None, maps)
        return states

    def upper(self, states: Tensor, read: Tensor, maps: Mapping[str, Map], first: int) -> Tensor:
        """States at the input of layer `first` -> final-norm states [B, d] at the positions `read` [B]."""
        last = self.layer_count - 1
        states = self.lower(states, maps, first, last)
        state = self._layer(last, states, self._rope(states), read, maps)
        normed: Tensor = self._model.norm(state[:, 0])
        return normed

    def _rope(self, states: Tensor) -> tuple[Tensor, Tensor]:
        positions = torch.arange(states.shape[1], device=states.device)[None]
        cos, sin = self._model.rotary_emb(states, positions)
        return cos[:, None], sin[:, None]

    def _layer(
        self,
        index: int,
        states: Tensor,
        rope: tuple[Tensor, Tensor],
        read: Tensor | None,
        maps: Mapping[str, Map],
    ) -> Tensor:
        """One layer at all positions, or with `read` [B] at that one alone (over the keys of all): [B, 1, d]."""
        layer = self._model.layers[index]

        def apply(name: str, x: Tensor) -> Tensor:
            result: Tensor = (maps.get(f"layers.{index}.{name}") or layer.get_submodule(name))(x)
            return result

        normed = layer.input_layernorm(states)
        if read is None:
            attended = self._attend(layer.self_attn, apply, normed, normed, rope, rope, None)
        else:
            rows = torch.arange(len(read), device=read.device)
            states = states[rows, read][:, None]
            mask = torch.arange(normed.shape[1], device=read.device)[None] <= read[:, None]
            query_rope = (rope[0][0, 0, read][:, None, None], rope[1][0, 0, read][:, None, None])
            query = normed[rows, read][:, None]
            attended = self._attend(layer.self_attn, apply, query, normed, query_rope, rope, mask[:, None, None])
        states = states + attended
        normed = layer.post_attention_layernorm(states)
        gated = layer.mlp.act_fn(apply("mlp.gate_proj", normed)) * apply("mlp.up_proj", normed)
        return states + apply("mlp.down_proj", gated)

    @staticmethod
    def _attend(
        attention: Any,
        apply: Callable[[str, Tensor], Tensor],
        query: Tensor,
        normed: Tensor,
        query_rope: tuple[Tensor, Tensor],
        rope: tuple[Tensor, Tensor],
        mask: Tensor | None,
    ) -> Tensor:
        def heads(name: str, x: Tensor, norm: str | None = None) -> Tensor:
            x = apply(f"self_attn.{name}", x).unflatten(-1, (-1, attention.head_dim))
            if norm is not None and hasattr(attention, norm):
                x = getattr(attention, norm)(x)
            return x.transpose(1, 2)

        q = _rotate(heads("q_proj", query, "q_norm"), *query_rope)
        k = _rotate(heads("k_proj", normed, "k_norm"), *rope)
        v = heads("v_proj", normed)
        mixed = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, scale=attention.scaling, enable_gqa=True
        )
        return apply("self_attn.o_proj", mixed.transpose(1, 2).flatten(-2))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin
