from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.nn import pairs
from recsys.nn.pairs import PairLayers, pair_logits, pair_loss
from recsys.training import seeded

DIM, WIDTHS, N_ITEMS = 3, (5, 4, 2), 6


def drawn(dim: int, widths: tuple[int, ...], n_users: int = 7, k: int = 3) -> dict[str, Any]:
    """Sides, items and weights at random, in double precision; all but the items ask for gradients."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(size=shape)).requires_grad_()

    later = [normal(*shape) for a, b in pairwise(widths) for shape in ((b, a), (b,))]
    width = dim + (widths[0] if widths else 0)
    return {
        "people": normal(n_users, width),
        "things": normal(N_ITEMS, width),
        "items": torch.from_numpy(rng.integers(0, N_ITEMS, (n_users, 1 + k))),
        "weights": [normal(1), *([normal(1, widths[-1]), *later] if widths else [])],
    }


def logit_of(x: dict[str, Any], dim: int, user: int, item: int) -> Tensor:
    """One pair's logit, layer by layer."""
    u, i, weights = x["people"][user], x["things"][item], x["weights"]
    logit = weights[0][0] + (u[:dim] * i[:dim]).sum()
    if len(weights) > 1:
        z = torch.relu(u[dim:] + i[dim:])
        for weight, bias in zip(weights[2::2], weights[3::2], strict=True):
            z = torch.relu(weight @ z + bias)
        logit = logit + weights[1][0] @ z
    return logit


def loss_of(x: dict[str, Any], dim: int) -> Tensor:
    """Mean over users of -ln sigmoid of the first logit and -ln(1 - sigmoid) of the others, a pair at a time."""
    total = torch.zeros((), dtype=torch.float64)
    for user, items in enumerate(x["items"].tolist()):
        for place, item in enumerate(items):
            probability = torch.sigmoid(logit_of(x, dim, user, item))
            total = total - torch.log(probability if place == 0 else 1 - probability)
    return total / len(x["items"])


SHAPES = [(DIM, ()), (0, WIDTHS), (DIM, WIDTHS), (0, (4,)), (2, (4,))]


@pytest.mark.parametrize("rows", [1, 9, 10_000])
@pytest.mark.parametrize("dim, widths", SHAPES)
def test_loss_and_gradients_are_those_of_a_loop(
    dim: int, widths: tuple[int, ...], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "CPU_ROWS", rows)
    x = drawn(dim, widths)
    parameters = [x["people"], x["things"], *x["weights"]]
    wanted = loss_of(x, dim)
    of_loop = torch.autograd.grad(wanted, parameters)
    found = pair_loss(x["people"], x["things"], x["items"], PairLayers(dim, x["weights"]))
    torch.testing.assert_close(found, wanted)
    # The loss of a step may be one part of a sum.
    for one, other in zip(torch.autograd.grad(0.3 * found, parameters), of_loop, strict=True):
        torch.testing.assert_close(one, 0.3 * other)


@pytest.mark.parametrize("dim, widths", SHAPES)
def test_logits_of_a_catalog_and_of_own_items_are_those_of_pairs(dim: int, widths: tuple[int, ...]) -> None:
    x = drawn(dim, widths)
    layers = PairLayers(dim, x["weights"])
    with torch.no_grad():
        catalog = pair_logits(x["people"][:, None], x["things"], layers)
        own = pair_logits(x["people"][:, None], x["things"][x["items"]], layers)
        wanted = torch.stack([torch.stack([logit_of(x, dim, u, i) for i in range(N_ITEMS)]) for u in range(7)])
    torch.testing.assert_close(catalog, wanted)
    torch.testing.assert_close(own, wanted.gather(1, x["items"]))


def test_dropout_has_the_gradient_of_the_units_that_it_leaves() -> None:
    x = drawn(DIM, WIDTHS, n_users=400)
    parameters = [x["people"], x["things"], *x["weights"]]
    with seeded(5):
        found = pair_loss(x["people"], x["things"], x["items"], PairLayers(DIM, x["weights"], 0.4))
    of_blocks = torch.autograd.grad(found, parameters)

    def with_autograd() -> Tensor:
        sides = x["things"][x["items"]]
        z = (x["people"][:, None, DIM:] + sides[..., DIM:]).flatten(0, 1)
        z = F.dropout(torch.relu(z), 0.4)
        for weight, bias in zip(x["weights"][2::2], x["weights"][3::2], strict=True):
            z = F.dropout(torch.relu(F.linear(z, weight, bias)), 0.4)
        tower = (z @ x["weights"][1][0]).view(x["items"].shape)
        logits = x["weights"][0] + (x["people"][:, None, :DIM] * sides[..., :DIM]).sum(-1) + tower
        return (F.softplus(logits).sum() - logits[:, 0].sum()) / len(logits)

    with seeded(5):  # one block, so that the units left out are the same ones
        wanted = with_autograd()
    torch.testing.assert_close(found, wanted)
    for one, other in zip(of_blocks, torch.autograd.grad(wanted, parameters), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dim, widths", SHAPES)
def test_single_precision_on_a_cpu_says_the_same(dim: int, widths: tuple[int, ...]) -> None:
    x = drawn(dim, widths)
    wanted = loss_of(x, dim)
    of_loop = torch.autograd.grad(wanted, [x["people"], x["things"], *x["weights"]])
    single = [one.detach().float().requires_grad_() for one in (x["people"], x["things"], *x["weights"])]
    found = pair_loss(single[0], single[1], x["items"], PairLayers(dim, single[2:]))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    for one, other in zip(torch.autograd.grad(0.3 * found, single), of_loop, strict=True):
        torch.testing.assert_close(one.double(), 0.3 * other, rtol=1e-4, atol=1e-5)


def test_sides_may_be_views_of_others() -> None:
    x = drawn(DIM, WIDTHS)
    layers = PairLayers(DIM, [one.detach().float() for one in x["weights"]])
    people, things = (F.pad(x[name].detach().float(), (1, 2))[:, 1:-2] for name in ("people", "things"))
    wanted = pair_loss(people.contiguous(), things.contiguous(), x["items"], layers)
    assert pair_loss(people, things, x["items"], layers) == wanted


def test_large_logits_cost_what_they_are_wrong_by() -> None:
    people, things = torch.tensor([[1000.0], [-1000.0]]), torch.tensor([[1.0], [-1.0]])
    layers = PairLayers(1, [torch.zeros(1)])
    # User 0 has both right, user 1 both wrong.
    loss = pair_loss(people.double(), things.double(), torch.tensor([[0, 1], [0, 1]]), layers)
    assert loss.item() == pytest.approx(2000 / 2)
