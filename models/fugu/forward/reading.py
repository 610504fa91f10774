"""A model's input for a text: all its tokens if there are few enough, else those of its two ends."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from models.errors import BadInput
from models.fugu.transcript import ends

READ_TOKENS = 4096
"""Maximum number of tokens read of a text. For Qwen3-0.6B in float32 their keys and values take 0.9 GB, less than half
of the prefix cache."""


class Reader:
    """Tokenises texts for a model; of texts beyond `most` tokens only the two ends are read.

    A text beyond the model's context (in its configuration `text`) keeps its end; for an encoder its beginning, as in
    training.
    """

    def __init__(self, tokenizer: Any, most: int, text: Any, *, encoder: bool) -> None:
        self.most = most
        self._tokenizer, self._encoder = tokenizer, encoder
        self._context: int = getattr(text, "max_position_embeddings", None) or 1 << 30

    @cached_property
    def most_chars(self) -> int:
        """Texts with more characters have more than `most` tokens: a token has at most the longest entry's characters.

        Doubled, since characters may be composed before the lookup (NFC makes two bytes of up to three).
        """
        return 2 * self.most * max(map(len, self._tokenizer.get_vocab()))

    def text(self, text: str) -> str:
        """The part of a text that is tokenised, before its number of tokens is known. `text(text(x)) == text(x)`."""
        return ends(text, self.most_chars)

    def tokens(self, texts: Sequence[str]) -> list[Tensor]:
        """Token ids of each text; for a causal model without the last one, unless it has only one. Raises BadInput."""
        fed = []
        for whole in self._tokenizer([self.text(text) for text in texts], verbose=False)["input_ids"]:
            if not whole:
                raise BadInput("a text without a token has no state", "messages")
            ids = ends(whole, self.most)
            if self._encoder:
                ids = ids if len(ids) <= self._context else [*ids[: self._context - 1], ids[-1]]
            else:
                ids = (ids[:-1] if len(ids) > 1 else ids)[-self._context :]
            fed.append(torch.tensor(ids))
        return fed
