"""Stage 2: sep-CMA-ES over the router's flat vector, as ask/tell over a plain, storable state.

Source: Ros & Hansen 2008 (separable CMA-ES); TRINITY (arXiv 2512.04695) for its use on the router. The
search is pycma's own (`CMA_diagonal`). Its state is the start vector, `EvolutionOptions` and the log of
fitnesses: `Evolution` replays the log, so a run that was killed between ask and tell continues with the same
population, and nothing is pickled.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import BadInput

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class EvolutionOptions:
    """`sigma`: initial step size σ0, in the vector's units. `population`: λ, 0 for 4 + floor(3 ln N)."""

    sigma: float
    population: int = 0
    seed: int = 42


class Evolution:
    """Maximise a fitness by sep-CMA-ES. `log[g]` holds the λ fitnesses of generation g.

    Raises BadInput for a log that does not fit the population, or a start that is not finite.
    """

    def __init__(
        self, start: NDArray[np.floating], options: EvolutionOptions, log: Sequence[Sequence[float]] = ()
    ) -> None:
        import cma  # importing it takes a second and sets up plotting

        start = np.asarray(start, dtype=np.float64)
        if start.ndim != 1 or not np.isfinite(start).all():
            raise BadInput("evolution starts from one finite flat vector", "start")
        if not options.sigma > 0:
            raise BadInput("the initial step size must be positive", "sigma")
        draws = np.random.Generator(np.random.PCG64(options.seed))
        settings = {
            "CMA_diagonal": True,
            "verbose": -9,
            # pycma draws from NumPy's global state unless it is given its own generator and no seed.
            "seed": np.nan,
            "randn": lambda *shape: draws.standard_normal(shape),
        }
        if options.population:
            settings["popsize"] = options.population
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._search = cma.CMAEvolutionStrategy(start, options.sigma, settings)
        self._population: NDArray[np.float64] | None = None
        self.generation = 0
        for fitnesses in log:
            self.tell(fitnesses)

    @property
    def population_size(self) -> int:
        """λ."""
        return int(self._search.popsize)

    @property
    def sigma(self) -> float:
        """The current step size."""
        return float(self._search.sigma)

    @property
    def parent(self) -> Vector:
        """The current mean m, [N]."""
        return np.array(self._search.mean, dtype=np.float64)

    def ask(self) -> Vector:
        """The generation's candidates, [λ, N]; the same until `tell`."""
        if self._population is None:
            self._population = np.stack(self._search.ask())
        return self._population

    def tell(self, fitnesses: Sequence[float]) -> None:
        """Recombine by fitness (greater is better), in the order of `ask`."""
        population = self.ask()
        if len(fitnesses) != len(population) or not np.isfinite(fitnesses).all():
            raise BadInput(f"a generation has {len(population)} finite fitnesses, not {list(fitnesses)}", "fitnesses")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._search.tell(list(population), [-float(f) for f in fitnesses])
        self._population = None
        self.generation += 1


def step_size_for_flips(
    choose: Callable[[NDArray[np.floating]], NDArray[np.integer]],
    start: NDArray[np.floating],
    *,
    rate: float = 0.05,
    draws: int = 2,
    seed: int = 42,
    bounds: tuple[float, float] = (1e-5, 10.0),
    rounds: int = 8,
) -> float:
    """σ0 such that about `rate` of the decisions differ from the start's, by bisection in log σ.

    `choose(vector) -> [Q]` gives the decisions of a vector on train transcripts; where it raises BadInput, the vector
    cannot be rolled out, and all of its decisions count as flipped (the start's own BadInput is raised). The same
    `draws` directions are used at every σ, so that the flip rate is a (nearly) monotone function of it. If no σ
    within `bounds` reaches `rate`, the largest is returned. The released σ0 is 0.03 whatever the head's scale
    (data/EXPERIMENTS.md, section 4, has the flip rates of a warm start).
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    directions = generator.standard_normal((draws, len(start)))
    reference = choose(start)

    def flipped(vector: NDArray[np.floating]) -> float:
        try:
            return float(np.mean(choose(vector) != reference))
        except BadInput:
            return 1.0

    def flips(sigma: float) -> float:
        return float(np.mean([flipped(start + sigma * z) for z in directions]))

    low, high = np.log(bounds[0]), np.log(bounds[1])
    for _ in range(rounds):
        middle = (low + high) / 2
        if flips(float(np.exp(middle))) < rate:
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))
