"""Sums over sets of vectors against their definition, by loops over the sets."""

import itertools

import pytest
import torch
from torch import Tensor

from recsys.nn.interactions import anova, anova_degrees, pairwise_interaction, with_pairwise_interaction


def by_sets(e: Tensor, degree: int) -> Tensor:
    """Sum over all sets of `degree` of the vectors of their entries' products, (B, D)."""
    products = [e[:, list(one)].prod(1) for one in itertools.combinations(range(e.shape[1]), degree)]
    return torch.stack(products).sum(0) if products else e.new_zeros(len(e), e.shape[2])


@pytest.mark.parametrize("order", range(2, 7))
@pytest.mark.parametrize("fields", [1, 4, 6])
def test_degrees_are_sums_over_sets(order: int, fields: int) -> None:
    e = torch.randn(3, fields, 2, dtype=torch.float64)
    degrees = anova_degrees(e, order)
    assert degrees.shape == (3, order + 1, 2)
    for t in range(order + 1):
        torch.testing.assert_close(degrees[:, t], by_sets(e, t) if t else torch.ones(3, 2, dtype=torch.float64))
    torch.testing.assert_close(anova(e, order), by_sets(e, order).sum(1))


def test_order_two_is_the_pairwise_identity() -> None:
    e = torch.randn(6, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(anova_degrees(e, 2)[:, 2].sum(1), pairwise_interaction(e))
    torch.testing.assert_close(anova(e, 2), pairwise_interaction(e))


def test_no_vector_has_no_product() -> None:
    e = torch.randn(4, 0, 3)
    for order in (2, 3):
        torch.testing.assert_close(anova(e, order), torch.zeros(4))


def test_vectors_of_zeros_and_their_order_change_nothing() -> None:
    e = torch.randn(2, 4, 3, dtype=torch.float64)
    padded = torch.cat([e[:, [2, 0]], torch.zeros(2, 2, 3, dtype=torch.float64), e[:, [3, 1]]], 1)
    for order in (2, 3, 4):
        torch.testing.assert_close(anova(padded, order), anova(e, order))


def test_even_orders_are_even_and_odd_ones_odd() -> None:
    e = torch.randn(2, 5, 3, dtype=torch.float64)
    for order in (2, 3, 4, 5):
        torch.testing.assert_close(anova(-e, order), (-1) ** order * anova(e, order))


def test_gradients_are_those_of_the_sets() -> None:
    e = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    found = torch.autograd.grad(anova(e, 4).sum(), e)[0]
    torch.testing.assert_close(found, torch.autograd.grad(by_sets(e, 4).sum(), e)[0])


@pytest.mark.parametrize("form", ["kernel", "bfloat16", "strided"])
def test_both_gradients_of_the_vectors_come_back(form: str) -> None:
    e = torch.randn(4, 3, 6)
    e = {"kernel": e, "bfloat16": e.bfloat16(), "strided": e.transpose(1, 2)}[form].requires_grad_()
    sums, vectors = with_pairwise_interaction(e)
    (found,) = torch.autograd.grad(sums.sum() + vectors.square().sum(), e)
    wanted = e.sum(1, keepdim=True) - e + 2 * e
    torch.testing.assert_close(found, wanted)
    sums, vectors = with_pairwise_interaction(e)
    (alone,) = torch.autograd.grad(vectors.square().sum(), e)
    torch.testing.assert_close(alone, 2 * e)
