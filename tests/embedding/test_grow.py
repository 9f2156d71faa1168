"""Tables that grow while they are trained: old vectors and what optimizers remember of them stay."""

import copy

import pytest
import torch

from recsys.embedding import Embedding, FieldEmbedding, SparseAdam, place
from recsys.errors import ParameterError
from tests.embedding.steps import OPTIMIZERS

OLD, NEW, D = [3, 1, 5], [4, 1, 9], 4


def all_codes(sizes):
    """Rows that name every code of every field, -1 where the field has no more."""
    return torch.tensor([[code if code < size else -1 for size in sizes] for code in range(max(sizes))])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fields_keep_their_vectors_bitwise_and_get_room_behind_them(dtype):
    table = FieldEmbedding(OLD, D, std=1.0, dtype=dtype)
    codes = all_codes(OLD)
    before = table(codes)
    table.grow(NEW)
    assert torch.equal(table(codes), before)
    assert table.table.weight.dtype == dtype
    everything = table(all_codes(NEW))
    assert everything[3, 0].count_nonzero() == D
    # No two fields share a vector.
    assert len(table.table.vectors.unique(dim=0)) == sum(NEW)


def test_slots_follow_their_fields():
    table = FieldEmbedding(OLD, D, fields=[2, 0, 2], std=1.0)
    codes = torch.tensor([[0, 2, 4], [3, -1, 1]])
    before = table(codes)
    table.grow(NEW)
    assert torch.equal(table(codes), before)


def test_new_rows_start_as_rows_do():
    table = FieldEmbedding([5, 5], 50, std=0.3)
    old = table.table.vectors.detach().clone()
    places = table.grow([2005, 5])
    new = torch.ones(len(table.table.weight), dtype=torch.bool)
    new[places] = False
    assert new.sum() == 2000
    assert table.table.weight[new].std().item() == pytest.approx(0.3, rel=0.02)
    assert torch.equal(table.table.weight[places[1:]], old)


def test_growing_to_the_same_sizes_changes_nothing():
    table = FieldEmbedding(OLD, D)
    weight = table.table.weight
    assert torch.equal(table.grow(OLD), torch.arange(sum(OLD) + 1))
    assert table.table.weight is weight


@pytest.mark.parametrize("sizes", [[2, 1, 5], [3, 1], [3, 1, 5, 5]])
def test_fields_that_shrink_or_appear_are_refused(sizes):
    with pytest.raises(ParameterError, match="none below those of"):
        FieldEmbedding(OLD, D).grow(sizes)


def test_a_cached_table_does_not_grow():
    with pytest.raises(ParameterError, match="on the device"):
        FieldEmbedding(OLD, D, table=place(sum(OLD), D, "host")).grow(NEW)


# -- optimizers ----------------------------------------------------------------------------------------------------------


def step(table, optimizer, codes, aim):
    optimizer.zero_grad()
    (table(codes) - aim).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_as_if_the_table_had_been_large_all_along(optimizer):
    small = FieldEmbedding(OLD, D, std=1.0, sparse=True)
    large = copy.deepcopy(small)
    places = large.grow(NEW)
    codes, aims = all_codes(OLD), torch.randn(6, 5, 3, D)
    of_small, of_large = (optimizer(net.parameters(), lr=0.1) for net in (small, large))
    for aim in aims[:3]:
        step(small, of_small, codes, aim)
        step(large, of_large, codes, aim)
    old = small.table.weight
    at = small.grow(NEW)
    of_small.grow_state(old, small.table.weight, at)
    for aim in aims[3:]:
        step(small, of_small, codes, aim)
        step(large, of_large, codes, aim)
    assert torch.equal(small.table.weight[places], large.table.weight[places])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_new_rows_are_remembered_as_rows_without_a_step(optimizer):
    table = Embedding(4, D, std=1.0, sparse=True)
    steps = optimizer(table.parameters())
    step(table, steps, torch.tensor([0, 1]), 1.0)
    old = table.weight
    places = table.grow(9)
    steps.grow_state(old, table.weight, places)
    fresh = steps.new_state(table.weight, steps.param_groups[0])
    for name in steps.remembers:
        assert torch.equal(steps.state[table.weight][name][5:], fresh[name][5:])
    assert old not in steps.state


def test_what_has_not_grown_or_not_been_trained_yet_is_taken_over_too():
    table = Embedding(4, D, sparse=True)
    steps = SparseAdam(table.parameters())
    steps.grow_state(table.weight, table.weight, table.grow(4))
    old = table.weight
    places = table.grow(6)
    steps.grow_state(old, table.weight, places)
    assert steps.param_groups[0]["params"] == [table.weight]
    step(table, steps, torch.tensor([5]), 1.0)
    assert steps.state[table.weight]["mean"][6].count_nonzero() == D


def test_a_table_that_the_optimizer_does_not_have_is_refused():
    table, other = Embedding(4, D, sparse=True), Embedding(4, D, sparse=True)
    with pytest.raises(ParameterError, match="was not given the old parameter"):
        SparseAdam(table.parameters()).grow_state(other.weight, other.weight, torch.arange(5))
