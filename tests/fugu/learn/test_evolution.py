"""The search is pycma's own, and its state is options and a log."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import BadInput
from models.fugu.learn.evolution import Evolution, EvolutionOptions, step_size_for_flips

N = 40
TARGET = np.random.default_rng(1).standard_normal(N)


def reward(x):
    return -float(((x - TARGET) ** 2).sum())


def evolve(search, generations):
    log = []
    for _ in range(generations):
        log.append([reward(x) for x in search.ask()])
        search.tell(log[-1])
    return log


@pytest.mark.parametrize(
    ("n", "seed", "population", "generations"), [(2, 0, 6, 40), (40, 5, 0, 25), (40, 6, 12, 25), (2304, 42, 16, 6)]
)
def test_parent_equals_pycma_bit_for_bit_on_the_same_draws_and_fitnesses(n, seed, population, generations):
    target = np.random.default_rng(1).standard_normal(n)
    ours = Evolution(np.zeros(n), EvolutionOptions(0.3, population, seed))
    draws = np.random.Generator(np.random.PCG64(seed))
    settings = {"CMA_diagonal": True, "verbose": -9, "seed": np.nan, "randn": lambda *s: draws.standard_normal(s)}
    import cma  # takes a second and sets up plotting: not for every process that collects the tests

    theirs = cma.CMAEvolutionStrategy(np.zeros(n), 0.3, settings | ({"popsize": population} if population else {}))
    for _ in range(generations):
        asked = theirs.ask()
        assert np.array_equal(ours.ask(), asked)
        losses = [float(((x - target) ** 2).sum()) for x in asked]
        theirs.tell(asked, losses)
        ours.tell([-loss for loss in losses])
        assert np.array_equal(ours.parent, theirs.mean)
        assert ours.sigma == theirs.sigma


def test_default_population_is_pycmas_rule():
    assert Evolution(np.zeros(19_456), EvolutionOptions(0.03)).population_size == 33


def test_search_improves_the_fitness():
    search = Evolution(np.zeros(N), EvolutionOptions(0.3))
    evolve(search, 60)
    assert reward(search.parent) > 0.5 * reward(np.zeros(N))


def test_state_is_restored_by_replaying_the_log():
    options = EvolutionOptions(sigma=0.2, population=8, seed=3)
    search = Evolution(np.zeros(N), options)
    log = evolve(search, 5)
    population = search.ask()  # killed between ask and tell
    again = Evolution(np.zeros(N), options, log)
    assert again.generation == 5
    assert np.array_equal(again.parent, search.parent)
    assert np.array_equal(again.ask(), population)


def test_search_neither_reads_nor_moves_numpys_global_state():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = Evolution(np.zeros(N), EvolutionOptions(0.3)).ask()
    assert np.array_equal(np.random.get_state()[1], before)
    np.random.seed(99)
    assert np.array_equal(Evolution(np.zeros(N), EvolutionOptions(0.3)).ask(), first)


@pytest.mark.parametrize("fitnesses", [[1.0], [float("nan")] * 8])
def test_fitnesses_that_do_not_fit_the_population_are_refused(fitnesses):
    search = Evolution(np.zeros(N), EvolutionOptions(0.3, population=8))
    with pytest.raises(BadInput, match="8 finite fitnesses"):
        search.tell(fitnesses)
    assert search.generation == 0


def test_start_that_is_not_finite_is_refused():
    with pytest.raises(BadInput):
        Evolution(np.array([0.0, np.nan]), EvolutionOptions(0.3))


def test_vectors_that_cannot_be_rolled_out_count_as_flipped():
    refused = []

    def choose(vector):
        if np.abs(vector).max() > 1:
            refused.append(vector)
            raise BadInput("too large", "vector")
        return np.zeros(10, np.intp)

    sigma = step_size_for_flips(choose, np.zeros(30), rate=0.5, draws=1)
    z = np.random.Generator(np.random.PCG64(42)).standard_normal((1, 30))
    assert refused and sigma * np.abs(z).max() == pytest.approx(1, rel=0.1)
    with pytest.raises(BadInput, match="too large"):  # nothing can be compared with such a start
        step_size_for_flips(choose, np.full(30, 2.0))


@pytest.mark.parametrize("scale", [0.1, 1.0, 50.0])
def test_step_size_flips_the_wanted_share_of_decisions_whatever_the_heads_scale(scale):
    generator = np.random.default_rng(0)
    features = generator.standard_normal((2000, 10))
    start = scale * generator.standard_normal(50)

    def choose(vector):
        return (features @ vector.reshape(5, 10).T).argmax(axis=1)

    sigma = step_size_for_flips(choose, start, rate=0.05)
    fresh = np.random.default_rng(9).standard_normal((8, 50))
    flips = np.mean([np.mean(choose(start + sigma * z) != choose(start)) for z in fresh])
    assert 0.03 < flips < 0.08
