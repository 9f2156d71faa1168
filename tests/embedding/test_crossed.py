"""Crosses of fields against loops over their slots in plain Python integers."""

import itertools

import numpy as np
import pytest
import torch

from recsys.embedding.crossed import CrossedEmbedding
from recsys.errors import ParameterError

SIZES = (5, 4, 6, 3)
SLOT_FIELDS = (0, 1, 2, 2, 2, 3)
"""Field 2 has three slots, as tags do."""
CROSSES = ((0, 1), (1, 2, 3), (0, 3))
WORD = 2**64


def table(buckets=1000, sizes=SIZES, slot_fields=SLOT_FIELDS, crosses=CROSSES, dim=2):
    return CrossedEmbedding(sizes, slot_fields, crosses, dim, buckets=buckets, std=1.0).double()


def some_rows(n=40):
    """Codes and values (n, S); some codes are -1, and tags weigh less than 1."""
    sizes = torch.tensor([SIZES[field] for field in SLOT_FIELDS])
    codes = (torch.rand(n, len(sizes)) * (sizes + 1)).long() - 1
    tags = torch.tensor([field == 2 for field in SLOT_FIELDS])
    return codes, torch.where(tags, torch.rand(n, len(sizes), dtype=torch.float64) + 0.1, 1.0)


def splitmix(key):
    """The end of SplitMix64, on an unsigned integer of 64 bits."""
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 % WORD
    key = (key ^ key >> 27) * 0x94D049BB133111EB % WORD
    return key ^ key >> 31


def oracle(one, codes, values, buckets):
    """Vectors (B, K, dim) by loops over rows, crosses and combinations of slots."""
    starts = np.cumsum([0, *one.n_rows])
    weight = one.table.table.vectors
    out = torch.zeros(len(codes), len(CROSSES), weight.shape[1], dtype=weight.dtype)
    for row, k in itertools.product(range(len(codes)), range(len(CROSSES))):
        choices = [[s for s, field in enumerate(SLOT_FIELDS) if field == wanted] for wanted in CROSSES[k]]
        for slots in itertools.product(*choices):
            if any(codes[row, slot] < 0 for slot in slots):
                continue
            combinations = int(np.prod([SIZES[field] for field in CROSSES[k]]))
            key, stride, value = 0, 1, 1.0
            for slot, field in zip(slots, CROSSES[k], strict=True):
                key += int(codes[row, slot]) * stride
                stride *= SIZES[field] if combinations <= buckets else 0x9E3779B97F4A7C15
                value *= float(values[row, slot])
            place = key if combinations <= buckets else splitmix(key % WORD) % 2**63 % buckets
            out[row, k] += value * weight[starts[k] + place]
    return out


@pytest.mark.parametrize("buckets", [1000, 30, 1])
def test_crosses_are_loops_over_combinations_of_slots(buckets):
    one = table(buckets)
    codes, values = some_rows()
    torch.testing.assert_close(one(codes, values), oracle(one, codes, values, buckets))
    assert (one(codes, values) == 0).all(2).any()
    assert (one(codes, values) != 0).any()


def test_every_combination_has_a_vector_of_its_own_where_there_is_room():
    one = table(buckets=100, sizes=(3, 4, 2), slot_fields=(0, 1, 2), crosses=((0, 1, 2),))
    codes = torch.cartesian_prod(torch.arange(3), torch.arange(4), torch.arange(2))
    vectors = one(codes, torch.ones(codes.shape))[:, 0]
    assert len(torch.unique(vectors, dim=0)) == 24
    assert one.n_rows == (3 * 4 * 2,)


def test_hashed_combinations_spread_over_the_buckets_as_by_chance():
    buckets, n = 5000, 10_000
    one = table(buckets, sizes=(100, 100), slot_fields=(0, 1), crosses=((0, 1),), dim=1)
    codes = torch.cartesian_prod(torch.arange(100), torch.arange(100))
    vectors = one(codes, torch.ones(codes.shape)).view(100, 100)
    # By chance 1 - e^(-load) of the buckets are hit.
    assert len(vectors.unique()) / buckets == pytest.approx(1 - np.exp(-n / buckets), abs=0.02)
    # Two rows whose combinations share a bucket once do not share it for every code of the other field.
    alike = (vectors[:, None] == vectors).sum(2).fill_diagonal_(0)
    assert alike.sum() > 0
    assert alike.max() <= 3


def test_no_field_of_a_wide_cross_is_lost():
    sizes = (2**16,) * 5  # their combinations take 80 bits
    one = table(10_000, sizes=sizes, slot_fields=range(5), crosses=((0, 1, 2, 3, 4),), dim=1)
    rows = torch.full((6, 5), 7)
    rows[torch.arange(1, 6), torch.arange(5)] = 8
    assert len(one(rows, torch.ones(6, 5)).unique()) == 6


def test_parts_of_two_sides_add_up_to_the_whole_rows():
    one = table(buckets=30)
    codes, values = some_rows()
    left = torch.arange(len(SLOT_FIELDS)) < 3
    sides = [one.parts(torch.where(mine, codes, -1), torch.where(mine, values, 0)) for mine in (left, ~left)]
    added = [first + second for first, second in zip(*sides, strict=True)]
    torch.testing.assert_close(one.look_up(*added), one(codes, values))
    torch.testing.assert_close(one.look_up(*sides[0])[:, [1, 2]], torch.zeros(len(codes), 2, 2).double())


def test_an_incomplete_combination_trains_nothing():
    one = table()
    one(torch.tensor([[-1, 2, 1, -1, -1, -1]]), torch.ones(1, 6)).sum().backward()
    assert one.table.table.weight.grad.count_nonzero() == 0
    one(torch.tensor([[4, 2, -1, -1, -1, -1]]), torch.ones(1, 6)).sum().backward()
    assert one.table.table.weight.grad.count_nonzero() == 2  # one vector


def test_without_crosses_there_is_nothing_to_learn():
    one = table(crosses=())
    codes, values = some_rows()
    assert one(codes, values).shape == (len(codes), 0, 2)
    assert one.table.table.vectors.numel() == 0


@pytest.mark.parametrize("cross", [(0, 4), (-1, 0), ()])
def test_crosses_of_other_fields_are_refused(cross):
    with pytest.raises(ParameterError, match="fields 0 to 3"):
        table(crosses=((0, 1), cross))


@pytest.mark.parametrize("buckets", [1000, 45, 7])
def test_combinations_that_were_there_keep_their_vectors_when_fields_grow(buckets):
    one = table(buckets)
    codes, values = some_rows()
    before = one(codes, values).detach()
    hashed_before = [int(np.prod([SIZES[field] for field in cross])) > buckets for cross in CROSSES]
    one.grow((7, 4, 9, 5))
    after = one(codes, values).detach()
    hashed = [int(np.prod([(7, 4, 9, 5)[field] for field in cross])) > buckets for cross in CROSSES]
    # A cross that is hashed from now on lets some combinations share a vector; none of these does else.
    alike = [k for k in range(len(CROSSES)) if hashed[k] == hashed_before[k]]
    assert alike
    torch.testing.assert_close(after[:, alike], before[:, alike], rtol=0, atol=0)
    new = torch.tensor([[6, 3, 8, 7, -1, 4]])
    assert (one(new, torch.ones(1, 6, dtype=torch.float64)) != 0).all()


def test_a_network_that_grows_goes_on_training_its_crosses():
    one = table()
    one.grow((7, 4, 9, 5))
    one(torch.tensor([[6, 3, 8, 7, -1, 4]]), torch.ones(1, 6, dtype=torch.float64)).sum().backward()
    assert one.table.table.weight.grad is not None
