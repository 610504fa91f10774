"""The router: maps a transcript to a decision. Backbone, SVF offsets and a head (`models.fugu.head`).

Source: TRINITY (arXiv 2512.04695). The head gives L worker logits (the product) or L + 3
(TRINITY: the last three are roles, chosen apart from the workers).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import BadInput
from models.fugu import transcript
from models.fugu import vector as vectors
from models.fugu.decision import Allowed, Decision, decisions_on, mask_of
from models.fugu.forward.backbone import Backbone
from models.fugu.forward.layout import layout_for
from models.fugu.forward.loading import factor_cache
from models.fugu.forward.scaling import Scaling, scale_matrices, stacked
from models.fugu.head import Head, HeadForm
from models.fugu.roles import Role
from models.workers.ask import Message

_FORMAT = 1


@dataclass(frozen=True)
class Candidate:
    """A vector prepared for forwards. One immutable object, so that no thread sees half of a candidate.

    `offsets`: digest of its offsets, which alone determine its hidden states; `scaling`: None without offsets.
    """

    vector: vectors.Vector
    head: Head
    scaling: Scaling | None
    offsets: str


class Router:
    """Chooses a worker (and a role) for a transcript. Threads may share it, routers may share a backbone.

    `vector`: see `models.fugu.vector`; `roles`: whether the head has the three role rows. Raises BadInput for
    no workers, a repeated name, a layout that is unknown or not supported by the backbone, or an invalid
    vector. `released`: see `models.fugu.loop.LoopOptions`. `form`: of the head; bias-free rows by default.
    """

    def __init__(
        self,
        backbone: Backbone,
        vector: vectors.Numbers,
        workers: Sequence[str],
        roles: bool = True,
        layout: str = "released",
        released: str | None = None,
        form: HeadForm | None = None,
    ) -> None:
        if not workers or len(set(workers)) != len(workers):
            raise BadInput("a router needs at least one worker, and every name once", "workers")
        self.backbone, self.workers, self.roles, self.released = backbone, tuple(workers), roles, released
        self.logit_count = len(self.workers) + (len(Role) if roles else 0)
        self.layout, self.form = layout_for(backbone.decoder, layout), form or HeadForm()
        self._installed = self.candidate(vector)

    @classmethod
    def from_vector(
        cls,
        backbone: Backbone | str | Path,
        vector: vectors.Numbers | str | Path,
        workers: Sequence[str],
        roles: bool = True,
        layout: str = "released",
        released: str | None = None,
        cache: str | Path | None = None,
        form: HeadForm | None = None,
    ) -> Router:
        """From a backbone (or its folder or hub name) and a vector (or its `.npy` path).

        `cache`: where a backbone that is loaded here keeps its factorisations (default: `loading.factor_cache`).
        """
        backbone = backbone if isinstance(backbone, Backbone) else Backbone.load(backbone, cache=_cache(cache))
        vector = vectors.load(vector) if isinstance(vector, str | Path) else vector
        return cls(backbone, vector, workers, roles, layout, released, form)

    @property
    def meta(self) -> dict[str, Any]:
        """All that `load` needs besides the vector, as JSON values."""
        return {
            "format": _FORMAT,
            "backbone": self.backbone.source,
            "backbone_revision": self.backbone.revision,
            "backbone_digest": self.backbone.digest,
            "layout": self.layout.name,
            "workers": list(self.workers),
            "roles": self.roles,
            **({} if self.released is None else {"released": self.released}),
            **({} if self.form.kind == "rows" else {"head": self.form.meta}),
        }

    @property
    def vector(self) -> vectors.Vector:
        """A copy of the installed vector, float32."""
        return self._installed.vector.copy()

    @property
    def digest(self) -> str:
        """sha256 (hex) of the installed vector."""
        return vectors.digest(self._installed.vector)

    def install(self, vector: vectors.Numbers) -> None:
        """Replace the vector: only gains and head are computed, no matrix. On an error the old one stays installed."""
        self._installed = self.candidate(vector)

    def fold(self) -> None:
        """Make the installed vector's matrices dense, for serving: each is one product again instead of two."""
        installed = self._installed
        if installed.scaling is not None:
            self._installed = replace(installed, scaling=installed.scaling.fold())

    def candidate(self, vector: vectors.Numbers) -> Candidate:
        """Prepare a vector for `logits_of` without installing it. Raises BadInput where it does not fit."""
        sizes = len(self.workers), self.logit_count - len(self.workers), self.backbone.width
        whole = vectors.checked(vector, self.layout, self.form.size(*sizes))
        offsets, numbers = vectors.split(whole, self.layout)
        scaling = self._scaling(torch.from_numpy(offsets.copy()))
        head = self.form.install(numbers, *sizes, self.backbone.device)
        return Candidate(whole, head, scaling, vectors.digest(offsets))

    def logits(self, texts: Sequence[str], vector: NDArray[np.floating] | None = None) -> NDArray[np.float32]:
        """Logits of raw transcripts, [B, L] or [B, L + 3], under the installed vector or the one given.

        A vector that is passed uses the backbone's cached states too, and is not installed.
        """
        candidate = self._installed if vector is None else self.candidate(vector)
        return self.logits_of(texts, [candidate] * len(texts))

    @torch.no_grad()
    def logits_of(self, texts: Sequence[str], candidates: Sequence[Candidate]) -> NDArray[np.float32]:
        """Logits [B, L] or [B, L + 3] of each text under its own candidate, all in shared forwards."""
        logits = np.zeros((len(texts), self.logit_count), np.float32)
        hidden = self._states_of(texts, candidates)
        owners = np.array([id(candidate) for candidate in candidates])
        for candidate in {id(candidate): candidate for candidate in candidates}.values():
            rows = np.flatnonzero(owners == id(candidate))
            logits[rows] = _numpy(candidate.head(hidden[torch.from_numpy(rows)]))
        return logits

    @torch.no_grad()
    def resumed_logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """`logits` for conversations that continue: keys and values of earlier turns are reused."""
        installed = self._installed
        return _numpy(installed.head(self.backbone.resumed(texts, installed.scaling, installed.offsets)))

    def hidden(self, texts: Sequence[str], offsets: Tensor | None = None) -> Tensor:
        """States [B, d] float32 under `offsets` [n] (`None`: unadapted), differentiable in them."""
        return self.backbone.hidden(texts, None if offsets is None else self._scaling(offsets))

    def _scaling(self, offsets: Tensor) -> Scaling | None:
        return scale_matrices(self.backbone.factors, self.backbone.tied, self.layout, offsets)

    @torch.no_grad()
    def states(self, texts: Sequence[str], candidate: Candidate | None = None) -> NDArray[np.float32]:
        """Hidden states [B, d] under a candidate's offsets (default: the installed vector's), the head's input."""
        return _numpy(self.backbone.hidden(texts, (candidate or self._installed).scaling))

    @torch.no_grad()
    def states_of_population(self, texts: Sequence[str], population: NDArray[np.floating]) -> NDArray[np.float32]:
        """Hidden states [C, B, d] of every text under every vector of `population` [C, N], in shared forwards."""
        candidates = [self.candidate(vector) for vector in population]
        rows = [candidate for candidate in candidates for _ in texts]
        return _numpy(self._states_of([*texts] * len(candidates), rows)).reshape(len(candidates), len(texts), -1)

    def _states_of(self, texts: Sequence[str], candidates: Sequence[Candidate]) -> Tensor:
        """States [B, d] of each text under its own candidate. Candidates that differ only in the head share states."""
        scalings = {candidate.offsets: candidate.scaling for candidate in candidates}
        each = [scaling for scaling in scalings.values() if scaling is not None]
        place = {offsets: index for index, offsets in enumerate(scalings)}
        owners = [place[candidate.offsets] for candidate in candidates]
        return self.backbone.hidden(texts, stacked(each) if each else None, owners)

    def decide(self, messages: Sequence[Message], allowed: Allowed = None) -> Decision:
        """The best allowed worker for a conversation, and its role. The messages are read as given, without a prompt.

        For a conversation that continues, only new tokens are computed. Raises NoWorkerAllowed for an empty mask,
        BadInput for an empty conversation or an unknown name.
        """
        started = time.perf_counter()
        mask = self.mask(allowed, 1)
        logits = self.resumed_logits([self.backbone.reader.text(transcript.text(messages))])
        return self.decisions(logits, mask, started=started)[0]

    def decide_many(
        self,
        transcripts: Sequence[Sequence[Message]],
        allowed: Allowed = None,
        noise: NDArray[np.floating] | None = None,
        vector: NDArray[np.floating] | None = None,
        memo: dict[str, NDArray[np.float32]] | None = None,
    ) -> list[Decision]:
        """`decide` for many transcripts. `noise` [B, L (+ 3)] is added before the argmax: Gumbel noise samples.

        `memo`: the caller's cache of logits by text, for one vector.
        """
        started = time.perf_counter()
        mask = self.mask(allowed, len(transcripts))
        texts = [self.backbone.reader.text(transcript.text(messages)) for messages in transcripts]
        memo = {} if memo is None else memo
        new = [text for text in dict.fromkeys(texts) if text not in memo]
        memo.update(zip(new, self.logits(new, vector), strict=True))
        logits = np.stack([memo[text] for text in texts]) if texts else self.logits([], vector)
        return self.decisions(logits, mask, noise, started)

    def decisions(
        self,
        logits: NDArray[np.float32],
        mask: NDArray[np.bool_],
        noise: NDArray[np.floating] | None = None,
        started: float | None = None,
    ) -> list[Decision]:
        """The choices on `logits` [B, L (+ 3)] under `mask` [B, L]; `started`: the start by `time.perf_counter`.

        Raises BadInput for logits that are not finite.
        """
        return decisions_on(logits, mask, self.workers, roles=self.roles, noise=noise, started=started)

    def mask(self, allowed: Allowed, batch: int) -> NDArray[np.bool_]:
        """Which workers each of `batch` decisions may choose, [batch, L]. Raises NoWorkerAllowed, BadInput."""
        return mask_of(allowed, self.workers, batch)


def _cache(given: str | Path | None) -> Path:
    return factor_cache() if given is None else Path(given)


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.cpu().numpy()
    return array
