"""The loss from tables beside the loss from sides that torch makes."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.embedding import Embedding
from recsys.nn.pair_tables import PairTables, in_one_call, table_loss
from recsys.nn.pairs import PairLayers, pair_loss
from recsys.training import seeded

N_USERS, N_ITEMS = 30, 8
SHAPES = [(3, 0, ()), (0, 4, (6, 5, 2)), (3, 4, (6, 5, 2))]


def drawn(dim: int, inner: int, widths: tuple[int, ...], sparse: bool) -> tuple[PairTables, PairLayers]:
    def tables(width: int) -> tuple[Embedding, Embedding]:
        return Embedding(N_USERS, width, std=1, sparse=sparse), Embedding(N_ITEMS, width, std=1, sparse=sparse)

    def parameter(*shape: int) -> Tensor:
        return torch.randn(shape).requires_grad_()

    later = [parameter(*shape) for a, b in pairwise(widths) for shape in ((b, a), (b,))]
    product = {"multiplied": tables(dim), "factor": parameter(1, dim)} if dim else {}
    tower = {"read": tables(inner), "first": nn.Linear(2 * inner, widths[0])} if widths else {}
    weights = [parameter(1), *([parameter(1, widths[-1]), *later] if widths else [])]
    return PairTables(**product, **tower), PairLayers(dim, weights)


def by_sides(users: Tensor, items: Tensor, tables: PairTables, layers: PairLayers) -> Tensor:
    """Sides by torch, of the users and of all items."""
    people, things = [], []
    everything = torch.arange(N_ITEMS)
    if tables.multiplied is not None:
        people.append(tables.multiplied[0](users) * tables.factor)
        things.append(tables.multiplied[1](everything))
    if tables.read is not None and tables.first is not None:
        of_users, of_items = tables.first.weight.chunk(2, 1)
        people.append(F.linear(tables.read[0](users), of_users, tables.first.bias))
        things.append(F.linear(tables.read[1](everything), of_items))
    return pair_loss(torch.cat(people, 1), torch.cat(things, 1), items, layers)


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dim, inner, widths", SHAPES)
def test_loss_and_gradients_are_those_of_the_sides(
    dim: int, inner: int, widths: tuple[int, ...], sparse: bool, scale: float
) -> None:
    with seeded(0):
        tables, layers = drawn(dim, inner, widths, sparse)
        users, items = torch.randint(N_USERS, (17,)), torch.randint(N_ITEMS, (17, 4))
    parameters = [one for one in (*tables.parameters, *layers.weights) if one is not None]
    found, wanted = (loss(users, items, tables, layers) for loss in (table_loss, by_sides))
    torch.testing.assert_close(found, wanted)
    gradients = torch.autograd.grad(scale * found, parameters)
    for one, other in zip(gradients, torch.autograd.grad(scale * wanted, parameters), strict=True):
        assert one.is_sparse == other.is_sparse
        torch.testing.assert_close(one.to_dense(), other.to_dense(), rtol=1e-4, atol=1e-5)


def test_gradients_become_those_of_the_parameters_and_are_not_shared() -> None:
    with seeded(0):
        tables, layers = drawn(3, 4, (6, 5), sparse=False)
    users, items = torch.arange(4), torch.arange(8).view(4, 2)
    parameters = [one for one in (*tables.parameters, *layers.weights) if one is not None]
    for _ in range(2):
        table_loss(users, items, tables, layers).backward()
    twice = [one.grad for one in parameters]
    once = torch.autograd.grad(table_loss(users, items, tables, layers), parameters)
    for one, other in zip(twice, once, strict=True):
        torch.testing.assert_close(one, 2 * other)


def test_dropout_other_precision_and_autocast_are_torchs() -> None:
    with seeded(0):
        _, layers = drawn(3, 4, (6, 5), sparse=False)
    assert in_one_call(layers)
    assert not in_one_call(layers._replace(dropout=0.1))
    assert not in_one_call(layers._replace(weights=[one.double() for one in layers.weights]))
    with torch.autocast("cpu", torch.bfloat16):
        assert not in_one_call(layers)
