"""The kernel's one pass against the same step in torch, and gradients that are handed over as they are."""

import pytest
import torch

from recsys.embedding import Embedding, FieldEmbedding, SparseAdam
from tests.embedding.steps import OPTIMIZERS, batches, decay, train

N, D = 40, 5


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_float32_tables_are_stepped_as_float64_ones_are_by_torch(optimizer, weight_decay):
    single = Embedding(N, D, std=0.5, sparse=True)
    double = Embedding(N, D, sparse=True).double()
    double.load_state_dict(single.state_dict())
    given, how = batches(N, D), {"lr": 0.05, **decay(optimizer, weight_decay)}
    train(single, optimizer(single.parameters(), **how), given)
    train(double, optimizer(double.parameters(), **how), given)
    torch.testing.assert_close(single.weight.double(), double.weight, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_state_of_the_kernel_is_that_of_torch(optimizer):
    single, double = Embedding(N, D, sparse=True), Embedding(N, D, sparse=True).double()
    double.load_state_dict(single.state_dict())
    given, steps = batches(N, D), [optimizer(table.parameters()) for table in (single, double)]
    for table, one in zip((single, double), steps, strict=True):
        train(table, one, given)
    wanted = steps[1].state[double.weight]
    for name, value in steps[0].state[single.weight].items():
        assert value.shape == wanted[name].shape
        torch.testing.assert_close(value.double(), wanted[name].double(), rtol=2e-5, atol=2e-6)


def test_a_parameter_that_does_not_lie_in_one_piece_is_stepped_too():
    plain = torch.nn.Parameter(torch.randn(4, 6))
    turned = torch.nn.Parameter(plain.detach().T.contiguous().T)
    assert not turned.is_contiguous()
    for weight in (plain, turned):
        weight.grad = torch.sparse_coo_tensor(
            torch.tensor([[2, 0, 2]]), torch.ones(3, 6), (4, 6), check_invariants=True
        )
        SparseAdam([weight], lr=0.1).step()
    torch.testing.assert_close(turned, plain)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_table_with_several_dimensions_a_row_is_stepped_as_one_with_a_long_row(optimizer):
    flat = torch.nn.Parameter(torch.randn(7, 6))
    deep = torch.nn.Parameter(flat.detach().clone().view(7, 2, 3))
    rows, values = torch.tensor([[1, 5, 1]]), torch.randn(3, 6)
    flat.grad = torch.sparse_coo_tensor(rows, values, (7, 6), check_invariants=True)
    deep.grad = torch.sparse_coo_tensor(rows, values.view(3, 2, 3), (7, 2, 3), check_invariants=True)
    for weight in (flat, deep):
        optimizer([weight], lr=0.1).step()
    assert torch.equal(deep.view(7, 6), flat)


# -- gradients -----------------------------------------------------------------------------------------------------------


def test_a_table_read_twice_before_a_step_gets_the_sum_of_both_gradients():
    sparse, plain = Embedding(9, 3, std=1.0, sparse=True), Embedding(9, 3)
    plain.load_state_dict(sparse.state_dict())
    first, second = torch.tensor([1, 4, -1]), torch.tensor([[4, 4], [8, 0]])
    for table in (sparse, plain):
        (table(first).square().sum() + 3 * table(second).sum()).backward()
        table(second).square().sum().backward()
    torch.testing.assert_close(sparse.weight.grad.to_dense(), plain.weight.grad)


def test_a_gradient_that_is_one_number_everywhere_is_taken():
    table = Embedding(9, 3, std=1.0, sparse=True)
    before = table.weight.detach().clone()
    table(torch.tensor([2, 2, 5])).sum().backward()
    SparseAdam(table.parameters(), lr=0.25).step()
    moved = before - table.weight.detach()
    torch.testing.assert_close(moved[[3, 6]], torch.full((2, 3), 0.25))
    assert moved.count_nonzero() == 6


def test_second_use_of_an_output_does_not_see_the_gradient_that_was_handed_over():
    table, upstream = FieldEmbedding([5, 5], 3, std=1.0, sparse=True), torch.ones(4, 2, 3)
    codes = torch.tensor([[0, 1], [2, 2], [4, 4], [1, 0]])
    for _ in range(2):
        table(codes).backward(upstream)
    assert torch.equal(upstream, torch.ones(4, 2, 3))
    assert table.table.weight.grad.to_dense().sum() == 48


@pytest.mark.parametrize("sparse", [True, False])
def test_frozen_tables_have_no_gradient(sparse):
    table = Embedding(9, 3, sparse=sparse)
    table.weight.requires_grad_(False)
    assert not table(torch.tensor([1, 2])).requires_grad
