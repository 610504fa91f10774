"""The staged search: consecutive sep-CMA-ES stages, each in its own coordinates, with one log of fitnesses.

A stage starts from the previous stage's mean, as a flat vector. Which parent is kept is decided elsewhere, by
validation; the search continues from its own mean in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.fugu.learn.evolution import Evolution, EvolutionOptions
from models.fugu.learn.subspace import Decided, Space, Vector, principal_directions

if TYPE_CHECKING:
    from models.fugu.router import Router


@dataclass(frozen=True)
class Stage:
    """`generations` in the space that `around` makes of a start; `sigma`: σ0 in that space's coordinates."""

    name: str
    generations: int
    around: Callable[[Vector], Space]
    sigma: float = 1.0


class Search:
    """Ask/tell over stages of at least one generation in all. `log`: fitnesses of finished generations, replayed."""

    def __init__(
        self, start: Vector, stages: Sequence[Stage], population: int, seed: int, log: Sequence[Sequence[float]] = ()
    ) -> None:
        self._stages = [stage for stage in stages if stage.generations]
        self._population, self._seed = population, seed
        self._number = 0
        self._enter(start)
        for fitnesses in log:
            self.tell(fitnesses)

    @property
    def stage(self) -> str:
        """The current stage's name."""
        return self._stages[self._number].name

    @property
    def dimension(self) -> int:
        """Number of coordinates in the current stage."""
        return self._space.dimension

    @property
    def generation(self) -> int:
        """Number of finished generations, over all stages."""
        return sum(stage.generations for stage in self._stages[: self._number]) + self._evolution.generation

    @property
    def generations(self) -> int:
        """Number of generations of all stages."""
        return sum(stage.generations for stage in self._stages)

    @property
    def population_size(self) -> int:
        """λ."""
        return self._evolution.population_size

    @property
    def sigma(self) -> float:
        """The step size, in the current stage's coordinates."""
        return self._evolution.sigma

    @property
    def parent(self) -> Vector:
        """The current mean as a flat vector, [N]."""
        return self._space.vector(self._evolution.parent)

    def ask(self) -> NDArray[np.float32]:
        """The generation's candidates as flat vectors, [λ, N]; the same until `tell`."""
        return np.stack([self._space.vector(point) for point in self._evolution.ask()])

    def tell(self, fitnesses: Sequence[float]) -> None:
        """Recombine by fitness (greater is better), in the order of `ask`; a stage's last `tell` enters the next."""
        self._evolution.tell(fitnesses)
        more = self._number + 1 < len(self._stages)
        if more and self._evolution.generation == self._stages[self._number].generations:
            parent = self.parent
            self._number += 1
            self._enter(parent)

    def _enter(self, start: Vector) -> None:
        stage = self._stages[self._number]
        self._space = stage.around(start)
        options = EvolutionOptions(stage.sigma, self._population, self._seed + self._number)
        self._evolution = Evolution(self._space.start, options)


class States:
    """Decisions of vectors on fixed texts; consecutive vectors with the same offsets share hidden states."""

    def __init__(self, router: Router, texts: Sequence[str]) -> None:
        self._router, self._texts = router, list(texts)
        self._states: tuple[bytes, NDArray[np.float32]] | None = None

    def of(self, vector: Vector) -> NDArray[np.float32]:
        """The texts' states under the vector's offsets, [S, d]."""
        offsets = vector[: self._router.layout.offsets].tobytes()
        if self._states is None or self._states[0] != offsets:
            self._states = offsets, self._router.states_of_population(self._texts, vector[None])[0]
        return self._states[1]

    def decide(self, vector: Vector) -> Decided:
        """The argmax of workers and roles on every text."""
        workers, states = len(self._router.workers), self.of(vector)
        head = vector[self._router.layout.offsets :].reshape(-1, states.shape[1])
        logits = states @ head.T
        roles = logits[:, workers:].argmax(axis=1) if self._router.roles else None
        return Decided(logits[:, :workers].argmax(axis=1), roles)

    def space(self, centre: Vector, rank: int = 0) -> Space:
        """Coordinates around `centre`: the head along the texts' `rank` leading directions, or along as many as few
        texts have; 0: every parameter."""
        router = self._router
        rows = len(router.workers), router.logit_count - len(router.workers)
        states = self.of(centre) if rank else None
        directions = None if states is None else principal_directions(states, min(rank, *states.shape))
        return Space(centre, router.layout.offsets, *rows, directions)
