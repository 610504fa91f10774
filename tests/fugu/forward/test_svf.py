"""Singular-value scaling in factored form against its definition; the cache of factorisations."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import BadInput
from models.fugu.forward import svf

SHAPES = [(12, 7), (7, 12), (9, 9), (40, 3), (1, 5)]


def scaled(weight: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    u, s, vt = torch.linalg.svd(weight.double(), full_matrices=False)
    new = s * (1 + offsets.double())
    return u @ torch.diag(new) @ vt * (s.sum() / new.sum())


def effective(factors: svf.Factors, gain: torch.Tensor) -> torch.Tensor:
    """The matrix that the factored map applies, read off column by column."""
    return factors.linear(gain, None)(torch.eye(factors.weight.shape[1])).T


def draw(shape: tuple[int, int], seed: int, spread: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rank = min(shape)
    weight = torch.randn(*shape, generator=generator)
    first, second = (spread * torch.randn(rank, generator=generator) for _ in range(2))
    return weight, first, second


cases = given(st.sampled_from(SHAPES), st.integers(0, 10_000), st.sampled_from([0.1, 0.5]))


@settings(max_examples=40, deadline=None)
@cases
def test_the_factored_map_applies_the_scaled_matrix(shape, seed, spread):
    weight, offsets, _ = draw(shape, seed, spread)
    factors = svf.factor(weight)
    if ((1 + offsets) * factors.sigma).sum() < 0.2 * factors.sigma.sum():
        return  # the energy factor blows the comparison's tolerance up
    gain = svf.gains(factors.sigma, offsets)
    expected = scaled(weight, offsets)
    torch.testing.assert_close(effective(factors, gain).double(), expected, atol=2e-4, rtol=1e-4)
    rows = factors.rows(gain[None])(torch.tensor([[0, shape[0] - 1]]))
    torch.testing.assert_close(rows[0].double(), expected[[0, -1]], atol=2e-4, rtol=1e-4)


@settings(max_examples=40, deadline=None)
@cases
def test_two_scalings_of_a_tied_matrix_need_no_second_svd(shape, seed, spread):
    weight, first, second = draw(shape, seed, spread)
    factors = svf.factor(weight)
    once = (1 + first) * factors.sigma
    ordered = once.abs().sort(descending=True).values
    if once.sum() < 0.2 * once.abs().sum() or ((1 + second) * ordered).sum() < 0.2 * ordered.sum():
        return
    expected = scaled(scaled(weight, first), second)
    gain = svf.tied_gains(factors.sigma, first, second)
    torch.testing.assert_close(effective(factors, gain).double(), expected, atol=5e-4, rtol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_offsets_change_nothing(shape):
    weight, _, _ = draw(shape, 3, 0.0)
    factors, none = svf.factor(weight), torch.zeros(min(shape))
    assert svf.gains(factors.sigma, none).tolist() == [1.0] * min(shape)
    assert svf.tied_gains(factors.sigma, none, none).tolist() == pytest.approx([1.0] * min(shape))
    torch.testing.assert_close(effective(factors, svf.gains(factors.sigma, none)), weight, atol=1e-5, rtol=1e-5)


def test_the_energy_is_kept_by_one_scaling_and_by_two():
    _, first, second = draw((12, 7), 5, 0.1)
    sigma = torch.linspace(3, 1, 7, dtype=torch.float64)
    for gain in (svf.gains(sigma, first), svf.tied_gains(sigma, first, second)):
        assert (gain * sigma).sum().item() == pytest.approx(sigma.sum().item())


def test_a_rank_deficient_matrix_is_still_itself():
    weight = torch.outer(torch.arange(1.0, 7), torch.tensor([1.0, -2, 0, 4]))
    factors = svf.factor(weight)
    torch.testing.assert_close(effective(factors, torch.ones(4)), weight, atol=1e-5, rtol=1e-5)
    assert torch.isfinite(factors.sigma).all()


@pytest.mark.parametrize("offset", [-1.0, -3.0])
def test_a_sum_that_is_not_positive_is_an_error(offset):
    sigma, ones = torch.ones(3, dtype=torch.float64), torch.full((3,), offset)
    with pytest.raises(BadInput, match="not positive"):
        svf.gains(sigma, ones)
    with pytest.raises(BadInput, match="not positive"):
        svf.tied_gains(sigma, torch.zeros(3), ones)


def test_gains_are_differentiable():
    sigma = torch.linspace(2, 1, 4, dtype=torch.float64)
    first, second = (0.1 * torch.randn(4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: svf.tied_gains(sigma, a, b), (first, second))


def test_a_gain_per_text_is_applied_to_that_text():
    weight, first, second = draw((6, 4), 1, 0.3)
    factors = svf.factor(weight)
    both = torch.stack([svf.gains(factors.sigma, first), svf.gains(factors.sigma, second)])
    x = torch.randn(2, 5, 4)
    together = factors.linear(both[:, None], None)(x)
    for i in range(2):
        torch.testing.assert_close(together[i], factors.linear(both[i], None)(x[i]))


@pytest.mark.parametrize("shape", [(2000, 48), (200, 300)])
def test_small_offsets_move_bfloat16_as_they_move_float32(shape):
    """In the mean over what is put in: a single result is moved by less than bfloat16 resolves."""
    weight = draw(shape, 0, 0)[0].bfloat16()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2000, shape[1], generator=generator).bfloat16()
    offsets, ids = 0.001 * torch.randn(min(shape), generator=generator), torch.arange(shape[0])[None]

    def moved(weight: torch.Tensor) -> list[torch.Tensor]:
        """What the offsets make of the linear map's results, and of the looked-up rows."""
        factors = svf.factor(weight)
        gains = svf.gains(factors.sigma, offsets), torch.ones(min(shape))
        after, before = ((factors.linear(g, None)(x.to(weight)), factors.rows(g[None])(ids)) for g in gains)
        assert {each.dtype for each in after} == {weight.dtype}
        return [(a.float() - b.float()).ravel() for a, b in zip(after, before, strict=True)]

    for exact, rough in zip(moved(weight.float()), moved(weight), strict=True):
        assert (exact @ rough / (exact @ exact)).item() == pytest.approx(1, abs=0.2)


def test_a_factorisation_is_read_back_from_the_cache(tmp_path, monkeypatch):
    weight, _, _ = draw((12, 7), 0, 0)
    made = svf.factor(weight, tmp_path / "svf")
    monkeypatch.setattr(svf, "_decompose", None)
    kept = svf.factor(weight, tmp_path / "svf")
    torch.testing.assert_close(kept.basis, made.basis, atol=0, rtol=0)
    torch.testing.assert_close(kept.sigma, made.sigma, atol=0, rtol=0)
    with pytest.raises(TypeError):  # another weight is not taken from it
        svf.factor(weight + 1, tmp_path / "svf")


def test_a_weight_is_known_whatever_its_precision(tmp_path):
    weight = draw((12, 7), 0, 0)[0].bfloat16()
    svf.factor(weight, tmp_path)
    svf.factor(weight.float(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("broken", [b"", b"half a fi", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_broken_cache_file_is_made_again(tmp_path, broken):
    weight, _, _ = draw((12, 7), 0, 0)
    made = svf.factor(weight, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(broken)
    torch.testing.assert_close(svf.factor(weight, tmp_path).basis, made.basis)
    assert file.read_bytes() == whole


def test_many_may_share_a_cache(tmp_path):
    weights = [draw((30, 20), seed, 0)[0] for seed in (0, 1)] * 8
    with ThreadPoolExecutor(8) as pool:
        bases = [factors.basis for factors in pool.map(lambda weight: svf.factor(weight, tmp_path), weights)]
    for basis, weight in zip(bases, weights, strict=True):
        torch.testing.assert_close(basis, svf.factor(weight).basis)
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"] * 2
