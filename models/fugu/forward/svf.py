"""Singular-value fine-tuning in factored form: no matrix is rebuilt when a candidate is installed.

Source: Transformer-Squared (arXiv 2501.06252), as used by TRINITY (arXiv 2512.04695). With W = U Σ Vᵀ and offsets δ,

    W̃ = U diag(σ̃) Vᵀ · c,    σ̃ = (1 + δ) ∘ σ,    c = Σσ / Σσ̃   (energy kept).

W is factored once as left · right, with the singular values inside the longer side (left = UΣ = WV and
right = Vᵀ for a tall W; left = U and right = ΣVᵀ = UᵀW for a wide one), so that

    W̃x = left (g ∘ (right x)),    g = (1 + δ) · c

and a candidate consists of its gains g, one vector of min(m, n) numbers per matrix. Candidates with the same input
share `right x`, and each computes only `left`. Gains, and what they are applied to, are float32 whatever the
precision of W: bfloat16 does not resolve an offset of 0.001 beside 1, and would round it away.
"""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from models.errors import BadInput
from models.fugu.forward.decoder import Map
from models.fugu.forward.products import Product

log = logging.getLogger(__name__)

_ROWS = 8192
"""Rows of a matrix that are converted to float64 at a time."""


@dataclass(frozen=True)
class Factors:
    """`weight` [m, n], the singular vectors of its shorter side `basis` [r, r], `sigma` [r] descending."""

    weight: Tensor
    basis: Tensor
    sigma: Tensor

    @property
    def tall(self) -> bool:
        return self.weight.shape[0] >= self.weight.shape[1]

    @cached_property
    def left(self) -> Tensor:
        """[m, r]."""
        return (self.weight.float() @ self.basis if self.tall else self.basis).to(self.weight.dtype)

    @cached_property
    def right(self) -> Tensor:
        """[r, n]."""
        return (self.basis.T if self.tall else self.basis.T @ self.weight.float()).to(self.weight.dtype)

    def linear(self, gain: Tensor, bias: Tensor | None, rows: Tensor | None = None) -> Map:
        """x [..., n] -> W̃x + bias [..., m]. `gain`: [r], or broadcastable to [..., r] (one per text).

        `rows` [B]: index of each result's text among those given, where several gains apply to one text.
        """
        gain = self._exact(gain)

        def apply(x: Tensor) -> Tensor:
            inner = self._inward.unrounded(x)
            result = self._outward(self._rounded((inner if rows is None else inner[rows]) * gain))
            return result if bias is None else result + bias

        return apply

    def rows(self, gains: Tensor, owners: Tensor | None = None, rows: Tensor | None = None) -> Map:
        """ids [B, T] -> those rows of W̃, [B, T, n]; the other rows, and UΣ as a whole, are never computed.

        `gains` [C, r]; `owners` [B]: index of each result's gains (default: the first); `rows` as above. A token is
        looked up once, and multiplied by `right` at most once per candidate.
        """
        gains = self._exact(gains)

        def look_up(ids: Tensor) -> Tensor:
            tokens, place = ids.unique(return_inverse=True)
            place = place if rows is None else place[rows]
            inner = F.embedding(tokens, self.weight if self.tall else self.basis)
            inner = self._inward.unrounded(inner) if self.tall else inner
            if owners is None:
                return F.embedding(place, self._backward(self._rounded(inner * gains[0])))
            present, owner = owners.unique(return_inverse=True)
            if len(present) * len(tokens) < place.numel():
                each = self._backward(self._rounded(inner * gains[present, None]))  # [candidates, tokens, n]
                return each[owner[:, None], place]
            return self._backward(self._rounded(inner[place] * gains[owners, None]))

        return look_up

    def folded(self, gain: Tensor, bias: Tensor | None) -> Map:
        """`linear` with W̃ made dense, for a fixed gain [r]."""
        return Product(self._rounded(self.left.float() * self._exact(gain) @ self.right.float()), bias)

    def folded_rows(self, gain: Tensor) -> Map:
        """`rows` for a fixed gain [r]: one product per token, and still no adapted vocabulary."""
        scaled = self.basis * self._exact(gain)
        if not self.tall:
            table = self._rounded(scaled @ self.right.float())
            return lambda ids: F.embedding(ids, table)
        product = Product(self._rounded(scaled @ self.basis.T))  # symmetric
        return lambda ids: product(F.embedding(ids, self.weight))

    def _exact(self, gain: Tensor) -> Tensor:
        return gain.to(self.weight.device, torch.float32)

    def _rounded(self, x: Tensor) -> Tensor:
        return x.to(self.weight.dtype)

    @cached_property
    def _inward(self) -> Product:
        return Product(self.right)

    @cached_property
    def _outward(self) -> Product:
        return Product(self.left)

    @cached_property
    def _backward(self) -> Product:
        """x -> x · right, for rows of W."""
        return Product(self.right.T.contiguous())


def factor(weight: Tensor, cache: Path | None = None) -> Factors:
    """Factor `weight` [m, n]; stored in the folder `cache`, if given, under the weight's digest.

    The short side's Gram matrix is decomposed in float64 (a vocabulary of 151,936 × 1024 takes seconds and
    no second copy), which is exact here: the basis is orthonormal to rounding, so left · right = W whatever
    the condition of W. Processes may share a cache: files are written atomically, and a broken one is recomputed.
    """
    weight = weight.detach()
    path = None if cache is None else cache / f"{_digest(weight)}.safetensors"
    kept = _read(path, min(weight.shape)) if path is not None else None
    if kept is None:
        kept = _decompose(weight)
        if path is not None:
            try:
                _write(path, kept)
            except OSError as error:  # it only costs the next process the computation
                log.warning("the factorisation of a matrix is not cached: %s", error)
    return Factors(weight, kept["basis"].to(weight.device), kept["sigma"])


def gains(sigma: Tensor, offsets: Tensor) -> Tensor:
    """(1 + δ) · Σσ / Σ(1 + δ)σ, [..., r] float64, differentiable in δ. BadInput if the sum is not positive."""
    scale = 1 + offsets.double()
    return scale * (sigma.sum() / _positive((scale * sigma).sum(-1, keepdim=True)))


def tied_gains(sigma: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Two scalings in sequence of one matrix that is both embedding and output matrix.

    The second one's offsets belong to the singular values of the first one's result, which need no second
    SVD: they are |σ̃| in descending order (a permutation), and the signs of negative scales go into U.
    """
    once = gains(sigma, first)
    size = (once * sigma).abs()
    rank = torch.argsort(torch.argsort(size, descending=True, stable=True))
    twice = 1 + torch.take_along_dim(second.double(), rank, -1)
    return once * twice * (size.sum(-1, keepdim=True) / _positive((twice * size).sum(-1, keepdim=True)))


def _positive(total: Tensor) -> Tensor:
    if not total.min().item() > 0:
        raise BadInput(f"the scaled singular values sum to {total.min().item():.4g}, which is not positive", "vector")
    return total


def _decompose(weight: Tensor) -> dict[str, Tensor]:
    short = weight if weight.shape[0] >= weight.shape[1] else weight.T
    gram = torch.zeros(short.shape[1], short.shape[1], dtype=torch.float64)
    for rows in short.split(_ROWS):
        part = rows.to("cpu", torch.float64)
        gram += part.T @ part
    squares, vectors = torch.linalg.eigh(gram)
    sigma = squares.clamp(min=0).sqrt().flip(0)
    return {"basis": vectors.flip(1).float().contiguous(), "sigma": sigma.contiguous()}


def _digest(weight: Tensor) -> str:
    sha = hashlib.sha256(f"gram/1 {tuple(weight.shape)}".encode())
    for rows in weight.split(_ROWS):
        sha.update(rows.to("cpu", torch.float32).contiguous().numpy())
    return sha.hexdigest()


def _read(path: Path, rank: int) -> dict[str, Tensor] | None:
    try:
        kept = load_file(path)
    except (OSError, SafetensorError):
        return None
    whole = kept.keys() == {"basis", "sigma"} and kept["basis"].shape == (rank, rank) and kept["sigma"].shape == (rank,)
    return kept if whole else None


def _write(path: Path, kept: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        save_file(kept, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
