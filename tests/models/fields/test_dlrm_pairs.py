"""DLRM's scores of pairs from what each side brings, wherever the numbers are."""

import pytest
import torch

from recsys.models.fields.dlrm import DLRMNet

SLOTS = (0, 1, 2, 3, 4, 5)
"""Fields: two of the user, two of the item, a number of the user, a number of the item."""


def rows(fields, number_at, n, sizes):
    """Slots of one side: -1 and 0 elsewhere."""
    codes, values = torch.full((n, 6), -1), torch.zeros(n, 6)
    for field in fields:
        codes[:, field], values[:, field] = torch.randint(sizes[field], (n,)), 1.0
    if number_at is not None:
        codes[:, number_at], values[:, number_at] = 0, torch.randn(n)
    return codes, values


@pytest.mark.parametrize("interaction", ["dot", "cat"])
@pytest.mark.parametrize("numbers", [(4, 5), (4, None), (None, 5), (None, None)])
def test_pairs_are_scored_as_whole_rows(interaction, numbers):
    sizes = (7, 3, 9, 4, 1, 1)
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        net = DLRMNet(sizes, SLOTS, (4, 5), 5, (4,), (8, 3), interaction=interaction, init_std=0.7).eval()
        people, things = rows((0, 1), numbers[0], 6, sizes), rows((2, 3), numbers[1], 11, sizes)
        found = net.pairs(*(net.side(net.embed(*side)) for side in (people, things)))
        at = torch.cartesian_prod(torch.arange(6), torch.arange(11))
        codes = torch.maximum(people[0][at[:, 0]], things[0][at[:, 1]])
        wanted = net(codes, people[1][at[:, 0]] + things[1][at[:, 1]])
    assert wanted.std() > 0.01
    torch.testing.assert_close(found.flatten(), wanted, atol=1e-5, rtol=1e-5)


def test_a_network_without_numbers_scores_pairs_as_whole_rows():
    sizes = (7, 3, 9, 4)
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        net = DLRMNet(sizes, range(4), (), 5, (), (8, 3), init_std=0.7).eval()
        people, things = (
            tuple(part[:, :4] for part in rows(f, None, n, sizes)) for f, n in (((0, 1), 6), ((2, 3), 11))
        )
        found = net.pairs(*(net.side(net.embed(*side)) for side in (people, things)))
        at = torch.cartesian_prod(torch.arange(6), torch.arange(11))
        codes = torch.maximum(people[0][at[:, 0]], things[0][at[:, 1]])
        wanted = net(codes, people[1][at[:, 0]] + things[1][at[:, 1]])
    torch.testing.assert_close(found.flatten(), wanted, atol=1e-5, rtol=1e-5)
