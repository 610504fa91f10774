"""States of conversations that continue: only the tokens after the longest kept prefix are computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.fugu.forward.batches import in_batches, padded
from models.fugu.forward.decoder import Decoder, Map
from models.fugu.forward.prefixes import Prefix, Prefixes, past_of, prefix_of
from models.fugu.forward.traced import Traced

_COPIES = 4
"""Divides the prefix cache's limit to bound a batch of conversations that continue: gathering their cached keys and
values, joining new ones and copying the result out take together less than the limit."""

_SHORT = 2
"""Where forwards are traced, a prefix counts that is at least one part in so many of its text: taking up a shorter one
(two questions that begin alike, say) takes longer than computing it."""


@dataclass(frozen=True)
class Conversations:
    """`prefixes`: keys and values that are kept from turn to turn. `batch_tokens`: new tokens of a forward, at most."""

    decoder: Decoder
    prefixes: Prefixes
    batch_tokens: int

    def states(self, ids: Sequence[Tensor], maps: Mapping[str, Map], owner: str, traced: Traced | None) -> Tensor:
        """States [B, width] of token ids. `owner`: digest of the maps' offsets, under which keys and values are kept;
        `traced`: computes those of which nothing is kept, if it can."""
        found = [self.prefixes.longest(owner, row.numpy()) for row in ids]
        if traced is not None:
            found = [self._worth(prefix, row) for prefix, row in zip(found, ids, strict=True)]
        known = [0 if prefix is None else len(prefix.ids) for prefix in found]

        def run(chosen: list[int]) -> Tensor:
            new, read = padded([ids[i][known[i] :] for i in chosen], self.decoder.device)
            past = past_of([found[i] for i in chosen], self.decoder.device)
            if past is None and traced is not None:
                states, seen = traced.resume(new, read, maps, owner)
            else:
                states, seen = self.decoder.resume(self.decoder.embed(new, maps), read, maps, past)
            before = max(known[i] for i in chosen)
            for row, i in enumerate(chosen):
                self.prefixes.keep(owner, prefix_of(ids[i].numpy(), seen, row, before - known[i]))
            return states

        # A batch computes only its new tokens, but holds keys and values of all of them.
        most = self.prefixes.limit // (_COPIES * self.decoder.seen_bytes)

        def bounded(chosen: list[int]) -> Tensor:
            return in_batches([len(ids[i]) for i in chosen], most, lambda some: run([chosen[j] for j in some]))

        def apart(chosen: list[int]) -> Tensor:
            lengths = [len(ids[i]) - known[i] for i in chosen]
            return in_batches(lengths, self.batch_tokens, lambda some: bounded([chosen[j] for j in some]))

        fresh = [i for i, length in enumerate(known) if not length]
        if traced is None or len(fresh) in (0, len(ids)):
            return apart(list(range(len(ids))))
        others = [i for i, length in enumerate(known) if length]
        return torch.cat([apart(fresh), apart(others)])[torch.tensor([*fresh, *others]).argsort()]

    @staticmethod
    def _worth(prefix: Prefix | None, row: Tensor) -> Prefix | None:
        return prefix if prefix is not None and _SHORT * len(prefix.ids) >= len(row) else None
