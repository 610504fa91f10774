"""A product with a laid-out matrix is the product; where that is of no use, it is PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from models.fugu.forward.products import Int8Product, Product, int8_is_exact


@pytest.mark.parametrize("shape", [(1,), (3, 7), (2, 5, 1), (0, 4)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(512, 256), (300, 1000), (8, 5)])
def test_a_product_is_the_linear_map(shape, bias, rows, columns):
    weight, x = torch.randn(rows, columns), torch.randn(*shape, columns)
    offset = torch.randn(rows) if bias else None
    product = Product(weight, offset)
    torch.testing.assert_close(product(x), F.linear(x, weight, offset), atol=1e-4, rtol=1e-4)
    strided = torch.randn(columns, 6).T
    torch.testing.assert_close(product(strided), F.linear(strided, weight, offset), atol=1e-4, rtol=1e-4)


def test_a_product_is_differentiable_in_what_it_is_given():
    weight, x = torch.randn(512, 256), torch.randn(3, 256, requires_grad=True)
    product = Product(weight)
    product(x.detach())  # laid out by now
    product(x).sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(0).expand(3, -1), atol=1e-4, rtol=1e-4)


def test_half_precision_stays_half_precision():
    assert Product(torch.randn(512, 256).bfloat16())(torch.randn(2, 256).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("bias", [False, True])
def test_a_product_in_half_precision_may_be_had_unrounded(bias):
    weight, x = torch.randn(64, 32).bfloat16(), torch.randn(3, 5, 32).bfloat16()
    offset = torch.randn(64).bfloat16() if bias else None
    found = Product(weight, offset).unrounded(x)
    expected = F.linear(x.double(), weight.double(), None if offset is None else offset.double())
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    assert found.dtype == torch.float32 and not torch.equal(found, found.bfloat16().float())
    whole, x = Product(torch.randn(512, 300), torch.randn(512)), torch.randn(4, 300)
    assert torch.equal(whole.unrounded(x), whole(x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="it has a product of its own")
def test_on_cuda_it_is_the_same_and_differentiable():
    weight, x = torch.randn(64, 32).bfloat16(), torch.randn(3, 5, 32).bfloat16()
    expected = F.linear(x.double(), weight.double())
    product, there = Product(weight.cuda()), x.cuda()
    torch.testing.assert_close(product.unrounded(there).double().cpu(), expected, atol=1e-4, rtol=1e-4)
    there.requires_grad_()
    product.unrounded(there).sum().backward()
    assert there.grad is not None


@pytest.mark.skipif(not int8_is_exact(), reason="this CPU, as it is set, has no exact products of int8")
def test_int8_is_close_and_a_row_does_not_hang_on_the_others():
    torch.manual_seed(0)
    weight, bias = torch.randn(512, 300) * torch.rand(512, 1), torch.randn(512)
    x = torch.randn(3, 17, 300) * torch.rand(3, 17, 1) * 10
    x[1, 4] = 0
    product = Int8Product(weight, bias)
    found, exact = product(x), torch.nn.functional.linear(x, weight, bias)
    assert found.shape == exact.shape
    assert (found - exact).norm() < 0.02 * exact.norm()
    assert torch.equal(product(x[1:2]), found[1:2]) and torch.equal(product(x[1, 4:5]), found[1, 4:5])
    x.requires_grad_()
    torch.testing.assert_close(product(x), exact, atol=1e-4, rtol=1e-4)  # what is learned through stays exact


@pytest.mark.parametrize("rows", [1, 7, 51, 300])
def test_where_int8_is_said_to_be_exact_the_whole_product_is(rows):
    generator = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randint(-127, 128, shape, generator=generator, dtype=torch.int8) for shape in ((rows, 300), (512, 300))
    )
    same = torch.equal(torch._int_mm(x, weight.T).double(), x.double() @ weight.double().T)
    assert same == int8_is_exact()
