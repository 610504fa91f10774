"""Layouts: which of a decoder's matrices have offsets, and in which order they are stored in a router's vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from models.errors import BadInput
from models.fugu.forward.decoder import EMBEDDING, KNOWN, LAYER_MATRICES, OUTPUT, Decoder

LayoutName = Literal["released", "late", "head"]


@dataclass(frozen=True)
class Block:
    """The offsets of one matrix: its name in the base model's `state_dict`, min(m, n) numbers."""

    name: str
    size: int


@dataclass(frozen=True)
class Layout:
    """Which matrices are scaled. `first_layer`: the lowest layer that any block touches."""

    name: LayoutName
    blocks: tuple[Block, ...]
    first_layer: int

    @property
    def offsets(self) -> int:
        """Number of offsets of all blocks."""
        return sum(block.size for block in self.blocks)

    def length(self, rows: int, width: int) -> int:
        """The length of a vector with a head of [rows, width]."""
        return self.offsets + rows * width


def layouts_of(decoder: Decoder | None) -> tuple[LayoutName, ...]:
    """The layouts that a backbone supports; only `head` without a known decoder of at least two layers."""
    return ("released", "late", "head") if decoder is not None and decoder.layer_count >= 2 else ("head",)


def layout_for(decoder: Decoder | None, name: str) -> Layout:
    """The layout `name` on a backbone with this decoder (None: its layers are not known by name).

    `released`: embedding, the seven matrices of the second-to-last layer, output matrix. `late`: those seven
    alone. `head`: nothing. Raises BadInput for an unknown name, and for a layout that the backbone does not support.
    """
    if name not in get_args(LayoutName):
        raise BadInput(f"unknown layout {name!r}: one of {', '.join(get_args(LayoutName))}", "layout")
    if name == "head":
        return Layout("head", (), 0 if decoder is None else decoder.layer_count)
    if decoder is None or name not in layouts_of(decoder):
        needed = f"layout {name!r} needs a decoder of at least two layers of the types {KNOWN}"
        raise BadInput(f"{needed}; this backbone supports only 'head'", "layout")
    index = decoder.layer_count - 2
    layer = tuple(f"layers.{index}.{matrix}" for matrix in LAYER_MATRICES)
    names = (EMBEDDING, *layer, OUTPUT) if name == "released" else layer
    blocks = tuple(Block(block, min(decoder.module(block).weight.shape)) for block in names)
    return Layout("released", blocks, 0) if name == "released" else Layout("late", blocks, index)
