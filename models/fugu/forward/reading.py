"""What a model is fed of a text: its tokens, where they are few enough, else those of its two ends."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from models.errors import BadInput
from models.fugu.transcript import ends

READ_TOKENS = 4096
"""Tokens of a text that are read at most. Of Qwen3-0.6B in float32 their keys and values take 0.9 GB, less than half of
what is kept of all conversations."""


class Reader:
    """What a model is fed of texts, by its `tokenizer`: the ends of those beyond `most` tokens.

    A text beyond the model's context (of its configuration `text`) keeps its end, with an encoder its beginning, as it
    was trained.
    """

    def __init__(self, tokenizer: Any, most: int, text: Any, *, encoder: bool) -> None:
        self.most = most
        self._tokenizer, self._encoder = tokenizer, encoder
        self._context: int = getattr(text, "max_position_embeddings", None) or 1 << 30

    @cached_property
    def most_chars(self) -> int:
        """No text of more characters has `most` tokens or fewer: none stands for more than the longest one's.

        Twice that, since characters may be composed before they are looked up (NFC makes two bytes of up to three).
        """
        return 2 * self.most * max(map(len, self._tokenizer.get_vocab()))

    def text(self, text: str) -> str:
        """What of a text is looked at, before it is known how many tokens it has. `text(text(x)) == text(x)`."""
        return ends(text, self.most_chars)

    def tokens(self, texts: Sequence[str]) -> list[Tensor]:
        """Token ids of each text; for a causal model without the last one, unless it is alone. Raises BadInput."""
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
