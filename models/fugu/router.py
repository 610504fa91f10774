"""The router: transcript in, decision out. Backbone, SVF offsets and a bias-free linear head.

Source: TRINITY (arXiv 2512.04695), seed 000, section 2. The head gives L worker logits (the product) or L + 3
(TRINITY: the last three are roles, chosen apart from the workers).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import BadFile, BadInput, NoWorkerAllowed
from models.fugu import svf, transcript
from models.fugu import vector as vectors
from models.fugu.backbone import Backbone
from models.fugu.decoder import Map
from models.fugu.roles import Role
from models.workers.ask import Message

Allowed = Sequence[str] | NDArray[np.bool_] | None
"""Worker names, or a mask [L] or [B, L]; `None` allows all."""

_FORMAT = 1


@dataclass(frozen=True)
class Decision:
    """A choice. `margin`: the chosen worker's logit minus the best other allowed one's (infinite if alone).

    `worker_logits` [L], `role_logits` [3] or None, both without noise. `seconds`: of the batch it came from.
    """

    worker: str
    worker_index: int
    role: Role | None
    worker_logits: NDArray[np.float32]
    role_logits: NDArray[np.float32] | None
    margin: float
    seconds: float


@dataclass(frozen=True)
class _Installed:
    """A vector made ready. One object, so that a thread sees all of a candidate or nothing of it."""

    vector: vectors.Vector
    head: Tensor
    maps: Mapping[str, Map]


class Router:
    """Chooses a worker (and a role) for a transcript. Threads may share it, routers may share a backbone.

    `vector`: see `models.fugu.vector`; `roles`: whether the head has the three role rows. Raises BadInput for
    no workers, a repeated name, an unknown layout or one that the backbone cannot take, or a vector that does
    not fit.
    """

    def __init__(
        self,
        backbone: Backbone,
        vector: NDArray[np.floating],
        workers: Sequence[str],
        roles: bool = True,
        layout: str = "released",
    ) -> None:
        if not workers or len(set(workers)) != len(workers):
            raise BadInput("a router needs at least one worker, and every name once", "workers")
        self.backbone, self.workers, self.roles = backbone, tuple(workers), roles
        self.logit_count = len(self.workers) + (len(Role) if roles else 0)
        self.layout = vectors.layout_for(backbone, layout)
        self._installed = self._prepare(vector)

    @classmethod
    def from_vector(
        cls,
        backbone: Backbone | str | Path,
        vector: NDArray[np.floating] | str | Path,
        workers: Sequence[str],
        roles: bool = True,
        layout: str = "released",
    ) -> Router:
        """From a backbone (or its folder or hub name) and a vector (or its `.npy` path)."""
        backbone = backbone if isinstance(backbone, Backbone) else Backbone.load(backbone)
        vector = vector if isinstance(vector, np.ndarray) else vectors.load(vector)
        return cls(backbone, vector, workers, roles, layout)

    @classmethod
    def load(cls, path: str | Path, backbone: Backbone | None = None, cache: Path | None = None) -> Router:
        """A router that `save` wrote; a `backbone` already in memory may be handed in.

        Raises BadFile for a folder that holds none, BadInput where the backbone is another one.
        """
        file = Path(path) / "router.json"
        try:
            meta: dict[str, Any] = json.loads(file.read_text())
            source, revision, digest = meta["backbone"], meta["backbone_revision"], meta["backbone_digest"]
            shape = (meta["workers"], meta["roles"], meta["layout"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadFile(file, f"describes no router ({error!r})") from None
        backbone = backbone or Backbone.load(source, revision=revision, cache=cache)
        if backbone.digest != digest:
            raise BadInput(f"{path} was made with another backbone than {backbone.source}", "backbone")
        return cls(backbone, vectors.load(Path(path) / "vector.npy"), *shape)

    def save(self, path: str | Path) -> None:
        """Write `vector.npy` and `router.json` into the folder `path`."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        vectors.save(folder / "vector.npy", self._installed.vector)
        (folder / "router.json").write_text(json.dumps(self.meta, indent=1) + "\n")

    @property
    def meta(self) -> dict[str, Any]:
        """What a vector needs beside it to become a router again, as JSON values."""
        return {
            "format": _FORMAT,
            "backbone": self.backbone.source,
            "backbone_revision": self.backbone.revision,
            "backbone_digest": self.backbone.digest,
            "layout": self.layout.name,
            "workers": list(self.workers),
            "roles": self.roles,
        }

    @property
    def vector(self) -> vectors.Vector:
        """A copy of the installed vector, float32."""
        return self._installed.vector.copy()

    @property
    def digest(self) -> str:
        """sha256 (hex) of the installed vector."""
        return vectors.digest(self._installed.vector)

    def install(self, vector: NDArray[np.floating]) -> None:
        """Take another vector: gains and head only, no matrix is rebuilt. On an error the old one stays."""
        self._installed = self._prepare(vector)

    @torch.no_grad()
    def logits(self, texts: Sequence[str], vector: NDArray[np.floating] | None = None) -> NDArray[np.float32]:
        """Logits of raw transcripts, [B, L] or [B, L + 3], under the installed vector or the one given.

        Candidates that are passed in share the backbone's remembered states, and nothing is installed.
        """
        if not len(texts):
            return np.zeros((0, self.logit_count), np.float32)
        installed = self._installed if vector is None else self._prepare(vector)
        hidden = self.backbone.hidden(texts, installed.maps, self.layout.first_layer)
        logits: NDArray[np.float32] = (hidden @ installed.head.T).cpu().numpy()
        return logits

    def hidden(self, texts: Sequence[str], offsets: Tensor | None = None) -> Tensor:
        """States [B, d] float32 under `offsets` [n] (`None`: unadapted), differentiable in them."""
        if offsets is None or not self.layout.blocks:
            return self.backbone.hidden(texts, {}, self.backbone.layer_count)
        maps = svf.adapted_maps(self.backbone, self.layout, offsets)
        return self.backbone.hidden(texts, maps, self.layout.first_layer)

    @torch.no_grad()
    def states(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Hidden states [B, d] under the installed vector's offsets: what its head reads."""
        states: NDArray[np.float32] = (
            self.backbone.hidden(texts, self._installed.maps, self.layout.first_layer).cpu().numpy()
        )
        return states

    def decide(self, messages: Sequence[Message], allowed: Allowed = None) -> Decision:
        """The best allowed worker for a conversation, and its role. No message is added.

        Raises NoWorkerAllowed for an empty mask, BadInput for an empty conversation or an unknown name.
        """
        return self.decide_many([messages], allowed)[0]

    def decide_many(
        self,
        transcripts: Sequence[Sequence[Message]],
        allowed: Allowed = None,
        noise: NDArray[np.floating] | None = None,
        vector: NDArray[np.floating] | None = None,
        memo: dict[str, NDArray[np.float32]] | None = None,
    ) -> list[Decision]:
        """`decide` for many at once. `noise` [B, L (+ 3)] is added before the argmax: Gumbel noise samples.

        `memo`: logits by text, of one vector, kept by the caller: a text that is in it is not computed again.
        """
        started = time.perf_counter()
        mask = self._mask(allowed, len(transcripts))
        texts = [transcript.text(messages) for messages in transcripts]
        memo = {} if memo is None else memo
        new = [text for text in dict.fromkeys(texts) if text not in memo]
        memo.update(zip(new, self.logits(new, vector), strict=True))
        logits = np.stack([memo[text] for text in texts]) if texts else self.logits([], vector)
        if noise is not None and noise.shape != logits.shape:
            raise BadInput(f"the noise has shape {noise.shape}, the logits {logits.shape}", "noise")
        noisy = logits if noise is None else logits + noise
        seconds = time.perf_counter() - started
        return [self._decision(*row, seconds) for row in zip(logits, noisy, mask, strict=True)]

    def _decision(
        self,
        logits: NDArray[np.float32],
        noisy: NDArray[np.floating],
        mask: NDArray[np.bool_],
        seconds: float,
    ) -> Decision:
        count = len(self.workers)
        chosen = int(np.argmax(np.where(mask, noisy[:count], -np.inf)))
        others = logits[:count][mask & (np.arange(count) != chosen)]
        margin = float(logits[chosen] - others.max()) if len(others) else float("inf")
        role = Role(int(np.argmax(noisy[count:]))) if self.roles else None
        role_logits = logits[count:] if self.roles else None
        return Decision(self.workers[chosen], chosen, role, logits[:count], role_logits, margin, seconds)

    def _mask(self, allowed: Allowed, batch: int) -> NDArray[np.bool_]:
        count = len(self.workers)
        if allowed is None:
            return np.ones((batch, count), np.bool_)
        if not isinstance(allowed, np.ndarray):
            unknown = sorted(set(allowed) - set(self.workers))
            if unknown:
                raise BadInput(f"the router knows no worker {', '.join(unknown)}", "allowed")
            allowed = np.array([worker in allowed for worker in self.workers])
        if allowed.dtype != np.bool_ or allowed.shape not in ((count,), (batch, count)):
            raise BadInput(f"a mask is boolean, [{count}] or [{batch}, {count}], not {allowed.shape}", "allowed")
        mask = np.broadcast_to(allowed, (batch, count))
        if not mask.any(axis=1).all():
            raise NoWorkerAllowed("no worker is allowed", "allowed")
        return mask

    def _prepare(self, vector: NDArray[np.floating]) -> _Installed:
        whole = vectors.checked(vector, self.layout, self.logit_count, self.backbone.width)
        offsets, head = vectors.split(whole, self.layout, self.logit_count, self.backbone.width)
        maps = svf.adapted_maps(self.backbone, self.layout, torch.from_numpy(offsets.copy()))
        return _Installed(whole, torch.from_numpy(head.copy()).to(self.backbone.device), maps)
