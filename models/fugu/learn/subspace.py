"""Search coordinates of a router's vector: the head along a few directions, or every parameter.

A subspace moves each row of the head along the leading principal directions of the states that the router reads: some
tens of coordinates per row instead of d. A `Space` maps its points to flat vectors; the vector is what is rolled out
and stored, and the next stage's start. The scales of its blocks are set by flip rate, so that one search step (σ = 1)
has a comparable effect in each; with a single scale, a warm start whose role rows are more certain than its worker
rows would never try another role (data/EXPERIMENTS.md, section 8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import BadInput
from models.fugu.learn.evolution import step_size_for_flips

Floats = NDArray[np.floating]
Vector = NDArray[np.float32]

BLOCKS = ("offsets", "workers", "roles")

GREATEST = {"offsets": 1 / 3}
"""The largest scale of a block. Offsets: within three standard deviations a singular value keeps its sign, so that the
sum stays positive; where no offset changes a decision (one worker, say), the flip rate alone would set no bound."""


class Decided(NamedTuple):
    """A vector's decisions on fixed states: for each the index of a worker and, if the router has roles, of a role."""

    workers: NDArray[np.integer]
    roles: NDArray[np.integer] | None


@dataclass(frozen=True)
class Space:
    """Points around the flat vector `centre` [N], whose head has `workers` + `roles` rows.

    `directions` [r, d]: the head moves along these, r coefficients per row, and the offsets are fixed; `None`: every
    parameter is a coordinate. `scales`: of the blocks' coordinates, in the order of `BLOCKS`.
    """

    centre: Floats
    offsets: int
    workers: int
    roles: int
    directions: Floats | None = None
    scales: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def width(self) -> int:
        """Coordinates per row of the head."""
        rows = self.workers + self.roles
        return (len(self.centre) - self.offsets) // rows if self.directions is None else len(self.directions)

    @property
    def dimension(self) -> int:
        """Coordinates of a point."""
        free = self.offsets if self.directions is None else 0
        return free + (self.workers + self.roles) * self.width

    @property
    def blocks(self) -> dict[str, slice]:
        """The slice of each non-empty block in a point."""
        sizes = (self.offsets if self.directions is None else 0, self.workers * self.width, self.roles * self.width)
        ends = np.cumsum(sizes).tolist()
        bounds = zip(BLOCKS, sizes, ends, strict=True)
        return {name: slice(end - size, end) for name, size, end in bounds if size}

    @property
    def start(self) -> NDArray[np.float64]:
        """The point [n] of the centre. With every parameter and scales of 1 a point equals its vector, bit for bit."""
        if self.directions is None:
            return np.asarray(self.centre, np.float64) / self._gains()
        return np.zeros(self.dimension)

    def vector(self, point: Floats) -> Vector:
        """The flat vector of a point [n]."""
        scaled = self._gains() * point
        if self.directions is None:
            return scaled.astype(np.float32)
        moved = np.array(self.centre, np.float64)
        moved[self.offsets :] += (scaled.reshape(-1, self.width) @ self.directions).ravel()
        return moved.astype(np.float32)

    def fitted(self, decide: Callable[[Vector], Decided], rates: Mapping[str, float], seed: int = 42) -> Space:
        """This space with scales at which a step of σ = 1 in one block alone flips its rate of decisions.

        `decide` judges states from the start's rollouts; it raises BadInput for a vector that cannot be rolled out. For
        the role block flips of roles count, for the others flips of workers. No scale exceeds its `GREATEST`.
        """
        unscaled = replace(self, scales=(1.0, 1.0, 1.0))
        found = {}
        for name, where in self.blocks.items():
            choose = partial(_choose, unscaled, where, decide, name == "roles")
            size = step_size_for_flips(choose, np.zeros(where.stop - where.start), rate=rates[name], seed=seed)
            found[name] = min(size, GREATEST.get(name, np.inf))
        offsets, workers, roles = (found.get(name, 1.0) for name in BLOCKS)
        return replace(self, scales=(offsets, workers, roles))

    def packed(self) -> Vector:
        """Scales and directions as float32: all that must be stored to rebuild the space around the same centre."""
        directions = () if self.directions is None else self.directions.ravel()
        return np.concatenate([self.scales, directions]).astype(np.float32)

    def unpacked(self, packed: Vector) -> Space:
        """This space with the scales and directions of `packed`."""
        numbers = packed.astype(np.float64)
        offsets, workers, roles = numbers[: len(BLOCKS)].tolist()
        directions = None if self.directions is None else numbers[len(BLOCKS) :].reshape(-1, self.directions.shape[1])
        return replace(self, directions=directions, scales=(offsets, workers, roles))

    def _gains(self) -> Floats:
        gains = np.ones(self.dimension)
        for name, where in self.blocks.items():
            gains[where] = self.scales[BLOCKS.index(name)]
        return gains


def _choose(
    space: Space, where: slice, decide: Callable[[Vector], Decided], by_roles: bool, part: Floats
) -> NDArray[np.integer]:
    """The decisions after a step in one block."""
    point = space.start
    point[where] += part
    decided = decide(space.vector(point))
    return decided.roles if by_roles and decided.roles is not None else decided.workers


def principal_directions(states: Floats, rank: int) -> NDArray[np.float64]:
    """The leading principal directions of states [S, d] around zero, [rank, d], each divided by its spread.

    Around zero, because the head has no bias: the mean that all states share serves as the intercept. Divided, so
    that a coefficient changes the logits equally in every direction. Raises BadInput where there are fewer states or
    dimensions than directions.
    """
    states = np.asarray(states, np.float64)
    if not 0 < rank <= min(states.shape):
        raise BadInput(f"{len(states)} states of {states.shape[1]} numbers have no {rank} directions", "rank")
    squares, axes = np.linalg.eigh(states.T @ states / len(states))
    leading = axes[:, ::-1][:, :rank].T
    # An eigenvector's sign is arbitrary: the largest entry is made positive.
    signs = np.sign(leading[np.arange(rank), np.abs(leading).argmax(axis=1)])
    return leading * signs[:, None] / np.sqrt(np.maximum(squares[::-1][:rank, None], 1e-12))
