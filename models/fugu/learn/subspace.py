"""The coordinates in which a router's vector is searched: the head in a few directions, or every parameter.

A subspace moves each row of the head along the leading principal directions of the states that the router meets: some
tens of numbers a row instead of d. A `Space` turns its points into flat vectors and loses nothing: the vector is what
is rolled out, kept, and the next stage's start. The scales of its blocks are found by flip rate, so that one step of
the search (σ = 1) matters alike in all of them; with one scale for all, a warm start whose role rows are more certain
than its worker rows would never try another role (data/EXPERIMENTS.md, section 8).
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
"""A block's greatest scale. Offsets: three standard deviations leave a singular value its sign, so that their sum stays
positive; where no offset changes a decision (one worker, say), the flip rate would ask for ever greater ones."""


class Decided(NamedTuple):
    """What a vector decides on fixed states: a worker's and (where the router has them) a role's index for each."""

    workers: NDArray[np.integer]
    roles: NDArray[np.integer] | None


@dataclass(frozen=True)
class Space:
    """Points around the flat vector `centre` [N], whose head has `workers` + `roles` rows.

    `directions` [r, d]: the head moves along these, r coefficients a row, and the offsets stay; `None`: every
    parameter moves by itself. `scales`: of the blocks' coordinates, in the order of `BLOCKS`.
    """

    centre: Floats
    offsets: int
    workers: int
    roles: int
    directions: Floats | None = None
    scales: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def width(self) -> int:
        """Coordinates of a head's row."""
        rows = self.workers + self.roles
        return (len(self.centre) - self.offsets) // rows if self.directions is None else len(self.directions)

    @property
    def dimension(self) -> int:
        """Coordinates of a point."""
        free = self.offsets if self.directions is None else 0
        return free + (self.workers + self.roles) * self.width

    @property
    def blocks(self) -> dict[str, slice]:
        """Where the blocks that there are lie in a point."""
        sizes = (self.offsets if self.directions is None else 0, self.workers * self.width, self.roles * self.width)
        ends = np.cumsum(sizes).tolist()
        bounds = zip(BLOCKS, sizes, ends, strict=True)
        return {name: slice(end - size, end) for name, size, end in bounds if size}

    @property
    def start(self) -> NDArray[np.float64]:
        """The point [n] of the centre. With every parameter and scales of 1 a point is a vector, bit for bit."""
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
        """This space with scales by which a step of σ = 1 in a block alone flips its rate of decisions.

        `decide` is asked about states that the start meets; it raises BadInput for a vector that cannot be rolled out.
        The role block is judged by the roles, the others by the workers. No scale is above its `GREATEST`.
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
        """Scales and directions as float32: what has to be kept to meet the same points again."""
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
    that a coefficient moves the logits alike in every direction. Raises BadInput where there are fewer states or
    dimensions than directions.
    """
    states = np.asarray(states, np.float64)
    if not 0 < rank <= min(states.shape):
        raise BadInput(f"{len(states)} states of {states.shape[1]} numbers have no {rank} directions", "rank")
    squares, axes = np.linalg.eigh(states.T @ states / len(states))
    leading = axes[:, ::-1][:, :rank].T
    # An eigenvector's sign is the library's choice: its largest entry is made positive.
    signs = np.sign(leading[np.arange(rank), np.abs(leading).argmax(axis=1)])
    return leading * signs[:, None] / np.sqrt(np.maximum(squares[::-1][:rank, None], 1e-12))
