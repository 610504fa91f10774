"""Stages of one search: each pycma's own in its coordinates, joined without loss, restored by replay."""

from __future__ import annotations

import numpy as np
import pytest

from models.fugu.learn.search import Search, Stage, States
from models.fugu.learn.subspace import GREATEST, Space, principal_directions
from models.fugu.router import Router

ROWS, WIDTH, RANK = 5, 12, 4
STATES = np.random.default_rng(0).standard_normal((100, WIDTH))
START = np.random.default_rng(1).standard_normal(ROWS * WIDTH).astype(np.float32)
TARGET = np.random.default_rng(2).standard_normal(ROWS * WIDTH)
DIRECTIONS = principal_directions(STATES, RANK)


def reward(vector):
    return -float(((vector - TARGET) ** 2).sum())


def head(centre):
    return Space(centre, 0, 2, 3, DIRECTIONS, (1.0, 0.2, 0.1))


def whole(centre):
    return Space(centre, 0, 2, 3)


STAGES = [Stage("head", 4, head), Stage("whole", 3, whole, 0.05)]


def run(search, generations):
    log = []
    for _ in range(generations):
        log.append([reward(vector) for vector in search.ask()])
        search.tell(log[-1])
    return log


def test_one_stage_of_every_parameter_is_pycma_bit_for_bit():
    search = Search(START, [Stage("whole", 6, whole, 0.03)], 0, 7)
    draws = np.random.Generator(np.random.PCG64(7))
    settings = {"CMA_diagonal": True, "verbose": -9, "seed": np.nan, "randn": lambda *s: draws.standard_normal(s)}
    import cma  # takes a second and sets up plotting: not for every process that collects the tests

    theirs = cma.CMAEvolutionStrategy(START.astype(np.float64), 0.03, settings)
    for _ in range(6):
        population = theirs.ask()
        assert np.array_equal(search.ask(), np.array(population).astype(np.float32))
        fitnesses = [reward(x) for x in population]
        theirs.tell(population, [-f for f in fitnesses])
        search.tell(fitnesses)
    assert np.array_equal(search.parent, theirs.mean.astype(np.float32))
    assert search.sigma == theirs.sigma


def test_the_next_stage_starts_from_the_last_ones_parent_bit_for_bit():
    search, alone = Search(START, STAGES, 8, 3), Search(START, STAGES[:1], 8, 3)
    run(search, 4)
    run(alone, 4)
    assert (search.stage, alone.stage) == ("whole", "head")
    assert np.array_equal(search.parent, alone.parent)
    assert search.dimension == ROWS * WIDTH


def test_the_first_stage_moves_the_head_along_the_directions_alone():
    search = Search(START, STAGES, 8, 3)
    run(search, 2)
    moved = (search.parent - START).reshape(ROWS, WIDTH).astype(np.float64)
    inside = np.linalg.lstsq(DIRECTIONS.T, moved.T, rcond=None)[0]
    assert np.allclose(inside.T @ DIRECTIONS, moved, atol=1e-5)
    assert np.abs(moved).max() > 0.01


@pytest.mark.parametrize("told", range(8))
def test_the_log_leads_back_to_the_same_population(told):
    search = Search(START, STAGES, 8, 3)
    log = run(search, told)
    population = search.ask()  # killed between ask and tell
    again = Search(START, STAGES, 8, 3, log)
    assert (again.generation, again.stage, again.sigma) == (told, search.stage, search.sigma)
    assert np.array_equal(again.ask(), population)


def test_a_stage_without_generations_is_left_out():
    search = Search(START, [Stage("head", 0, head), STAGES[1]], 8, 3)
    assert (search.stage, search.generations) == ("whole", 3)


def test_a_finished_run_can_be_given_more_generations():
    longer = [STAGES[0], Stage("whole", 5, whole, 0.05)]
    search = Search(START, STAGES, 8, 3)
    log = run(search, 7)
    more = Search(START, longer, 8, 3, log)
    assert (more.generation, more.generations) == (7, 8 + 1)
    assert np.array_equal(more.parent, search.parent)


def test_states_are_computed_once_for_vectors_with_the_same_offsets(backbones, random_vector, texts, monkeypatch):
    backbone = backbones("tied")
    vector = random_vector(backbone, "late", 6)
    router = Router.from_vector(backbone, vector, ("ant", "bee", "cat"), layout="late")
    states = States(router, texts)
    decided = states.decide(vector)
    logits = router.logits(texts)
    assert np.array_equal(decided.workers, logits[:, :3].argmax(axis=1))
    assert np.array_equal(decided.roles, logits[:, 3:].argmax(axis=1))
    monkeypatch.setattr(router, "states_of_population", None)
    other = vector.copy()
    other[router.layout.offsets :] *= -1
    assert not np.array_equal(states.decide(other).workers, decided.workers)
    space = states.space(vector, 3)
    assert space.dimension == 6 * 3
    assert states.space(vector).dimension == len(vector)


def test_where_no_offset_flips_a_decision_the_first_population_can_be_rolled_out_all_the_same(
    backbones, random_vector, texts
):
    backbone = backbones("tied")
    vector = random_vector(backbone, "late", 1, spread=0.0)
    router = Router.from_vector(backbone, vector, ("ant",), roles=False, layout="late")
    states = States(router, texts)
    rates = {"offsets": 0.05, "workers": 0.05}
    fitted = states.space(vector).fitted(states.decide, rates)
    assert fitted.scales[0] == GREATEST["offsets"]
    search = Search(vector, [Stage("whole", 1, lambda centre: fitted)], 40, 5)
    for candidate in search.ask():
        router.candidate(candidate)
