"""DLRM's scores of pairs from what each side brings, wherever the numbers are."""

import pytest
import torch

from recsys.models.fields.dlrm import DLRMNet

SIZES = (7, 3, 9, 4, 1, 1)
"""Fields: two of the user, two of the item, a number of the user, a number of the item."""


def rows(fields, number_at, n, n_slots):
    """Slots of one side: -1 and 0 elsewhere."""
    codes, values = torch.full((n, n_slots), -1), torch.zeros(n, n_slots)
    for field in fields:
        codes[:, field], values[:, field] = torch.randint(SIZES[field], (n,)), 1.0
    if number_at is not None:
        codes[:, number_at], values[:, number_at] = 0, torch.randn(n)
    return codes, values


def assert_pairs_are_whole_rows(net, people, things):
    found = net.pairs(*(net.side(net.embed(*side)) for side in (people, things)))
    at = torch.cartesian_prod(torch.arange(len(people[0])), torch.arange(len(things[0])))
    codes = torch.maximum(people[0][at[:, 0]], things[0][at[:, 1]])
    wanted = net(codes, people[1][at[:, 0]] + things[1][at[:, 1]])
    assert wanted.std() > 0.01
    torch.testing.assert_close(found.flatten(), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("interaction", ["dot", "cat"])
@pytest.mark.parametrize("fields", [(0, 1), ()])
@pytest.mark.parametrize("numbers", [(4, 5), (4, None), (None, 5), (None, None)])
def test_pairs_are_scored_as_whole_rows(interaction, fields, numbers):
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        net = DLRMNet(SIZES, range(6), (4, 5), 5, (4,), (8, 3), interaction=interaction, init_std=0.7).eval()
        assert_pairs_are_whole_rows(net, rows(fields, numbers[0], 6, 6), rows((2, 3), numbers[1], 11, 6))


@pytest.mark.parametrize("fields", [(0, 1), ()])
def test_a_network_without_numbers_scores_pairs_as_whole_rows(fields):
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        net = DLRMNet(SIZES[:4], range(4), (), 5, (), (8, 3), init_std=0.7).eval()
        assert_pairs_are_whole_rows(net, rows(fields, None, 6, 4), rows((2, 3), None, 11, 4))
