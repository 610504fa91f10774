"""Points and vectors: nothing is lost between them, and a step matters alike in every block."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import BadInput
from models.fugu.learn.subspace import Decided, Space, principal_directions

OFFSETS, WORKERS, ROLES, WIDTH, RANK = 7, 4, 3, 20, 6
GENERATOR = np.random.default_rng(0)
STATES = GENERATOR.standard_normal((500, WIDTH)) @ GENERATOR.standard_normal((WIDTH, WIDTH)) + 2.0
CENTRE = GENERATOR.standard_normal(OFFSETS + (WORKERS + ROLES) * WIDTH).astype(np.float32)
DIRECTIONS = principal_directions(STATES, RANK)


def space(directions=None, scales=(1.0, 1.0, 1.0)):
    return Space(CENTRE, OFFSETS, WORKERS, ROLES, directions, scales)


SPACES = {"every parameter": space(), "subspace": space(DIRECTIONS)}


@pytest.fixture(params=SPACES)
def any_space(request):
    return SPACES[request.param]


def test_dimensions():
    assert SPACES["every parameter"].dimension == len(CENTRE)
    assert SPACES["subspace"].dimension == (WORKERS + ROLES) * RANK


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0), (0.003, 0.7, 11.0)])
@pytest.mark.parametrize("directions", [None, DIRECTIONS])
def test_the_start_is_the_centre_bit_for_bit(directions, scales):
    there = space(directions, scales)
    assert np.array_equal(there.vector(there.start), CENTRE)


def test_with_every_parameter_a_point_is_a_vector():
    point = np.random.default_rng(1).standard_normal(len(CENTRE))
    assert np.array_equal(space().vector(point), point.astype(np.float32))


def test_a_point_moves_the_logits_by_its_coefficients_along_the_directions():
    point = np.random.default_rng(1).standard_normal((WORKERS + ROLES, RANK))
    vector = space(DIRECTIONS).vector(point.ravel())
    assert np.array_equal(vector[:OFFSETS], CENTRE[:OFFSETS])
    moved = (vector - CENTRE)[OFFSETS:].reshape(-1, WIDTH).astype(np.float64)
    assert np.allclose(STATES @ moved.T, STATES @ DIRECTIONS.T @ point.T, atol=1e-4)


def test_directions_are_the_leading_ones_and_a_coefficient_moves_the_logits_alike_in_each():
    projected = STATES @ DIRECTIONS.T
    assert np.allclose(projected.T @ projected / len(STATES), np.eye(RANK), atol=1e-8)
    _, _, rows = np.linalg.svd(STATES, full_matrices=False)
    inside = np.linalg.norm(DIRECTIONS @ rows[:RANK].T, axis=1) / np.linalg.norm(DIRECTIONS, axis=1)
    assert np.allclose(inside, 1.0)


def test_directions_have_a_sign_of_their_own():
    assert np.allclose(principal_directions(STATES[::-1], RANK), DIRECTIONS)


@pytest.mark.parametrize("rank", [0, WIDTH + 1])
def test_more_directions_than_there_are_is_an_error(rank):
    with pytest.raises(BadInput, match="directions"):
        principal_directions(STATES, rank)


def test_blocks_tile_the_point(any_space):
    covered = np.concatenate([np.arange(any_space.dimension)[where] for where in any_space.blocks.values()])
    assert np.array_equal(covered, np.arange(any_space.dimension))
    assert ("offsets" in any_space.blocks) == (any_space.directions is None)


def decide(vector):
    """A router whose offsets turn its states a little, and whose role rows are far more certain than the others."""
    states = STATES + STATES[:, :OFFSETS] @ np.diag(vector[:OFFSETS]) @ np.ones((OFFSETS, WIDTH))
    logits = states @ vector[OFFSETS:].reshape(-1, WIDTH).T
    return Decided(logits[:, :WORKERS].argmax(axis=1), (logits[:, WORKERS:] * 40).argmax(axis=1))


def test_a_step_in_each_block_alone_flips_its_rate_of_decisions(any_space):
    rates = {"offsets": 0.05, "workers": 0.05, "roles": 0.2}
    fitted = any_space.fitted(decide, rates)
    start = decide(CENTRE)
    for name, where in fitted.blocks.items():
        flips = []
        for z in np.random.default_rng(9).standard_normal((40, where.stop - where.start)):
            point = fitted.start
            point[where] += z
            now = decide(fitted.vector(point))
            pair = (now.roles, start.roles) if name == "roles" else (now.workers, start.workers)
            flips.append(np.mean(pair[0] != pair[1]))
        assert 0.5 * rates[name] < np.mean(flips) < 1.7 * rates[name], name


def test_scales_and_directions_survive_being_kept(any_space):
    fitted = any_space.fitted(decide, {"offsets": 0.05, "workers": 0.05, "roles": 0.2})
    kept = fitted.packed()
    again = any_space.unpacked(kept)
    assert np.array_equal(again.packed(), kept)
    assert np.allclose(again.scales, fitted.scales, rtol=1e-6)
    point = np.random.default_rng(1).standard_normal(again.dimension)
    assert np.array_equal(any_space.unpacked(kept).vector(point), again.vector(point))
