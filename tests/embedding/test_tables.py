"""Tables of vectors: one, one for all fields, and bags, against plain indexing and loops."""

import numpy as np
import pytest
import torch

from recsys.embedding import Embedding, EmbeddingBag, FieldEmbedding, SparseAdam
from recsys.errors import DataError, ParameterError

MODES = ["sum", "mean", "max", "sqrtn"]


def dense(gradient):
    return gradient.to_dense() if gradient.is_sparse else gradient


# -- Embedding -----------------------------------------------------------------------------------------------------------


def test_codes_of_any_shape_read_their_vectors():
    table = Embedding(7, 3, std=1.0)
    codes = torch.tensor([[[0, 6], [2, 2]], [[5, 1], [0, 3]]])
    assert torch.equal(table(codes), table.vectors[codes])
    assert table(codes).shape == (2, 2, 2, 3)
    assert table(codes[:0]).shape == (0, 2, 2, 3)


@pytest.mark.parametrize("sparse", [False, True])
def test_minus_one_reads_zeros_and_is_never_trained(sparse):
    table = Embedding(4, 2, std=1.0, sparse=sparse)
    codes = torch.tensor([-1, 2, -1, 2])
    assert torch.equal(table(codes)[[0, 2]], torch.zeros(2, 2))
    (table(codes) + 1).square().sum().backward()
    assert table.weight.grad.is_sparse == sparse
    gradient = dense(table.weight.grad)
    assert (gradient[3] != 0).all()
    assert gradient[[0, 1, 2, 4]].count_nonzero() == 0


def test_minus_one_stays_zero_under_weight_decay():
    table = Embedding(4, 2, std=1.0, sparse=True)
    optimizer = SparseAdam(table.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        (table(torch.tensor([-1, 1])) - 3).square().sum().backward()
        optimizer.step()
    assert torch.equal(table(torch.tensor([-1])), torch.zeros(1, 2))


def test_a_sparse_gradient_is_the_dense_one_in_the_batchs_rows_alone():
    sparse = Embedding(100, 3, std=1.0, sparse=True)
    plain = Embedding(100, 3, std=1.0)
    plain.load_state_dict(sparse.state_dict())
    codes = torch.tensor([[5, 99], [5, -1]])
    for table in (sparse, plain):
        table(codes).square().sum().backward()
    assert sparse.weight.grad._values().shape == (3, 3)
    assert torch.equal(sparse.weight.grad.to_dense(), plain.weight.grad)


def test_rows_start_with_the_standard_deviation_that_is_asked_for():
    table = Embedding(2000, 50, std=0.3)
    assert table.vectors.std().item() == pytest.approx(0.3, rel=0.02)
    assert abs(table.vectors.mean().item()) < 0.01
    assert Embedding(3, 2, std=0.0).weight.count_nonzero() == 0


def test_growing_keeps_old_rows_bitwise_and_draws_new_ones():
    table = Embedding(5, 40, std=0.5)
    old = table.vectors.detach().clone()
    table.grow(2000)
    assert torch.equal(table.vectors[:5], old)
    assert table.vectors.shape == (2000, 40)
    assert table.vectors[5:].std().item() == pytest.approx(0.5, rel=0.02)
    assert torch.equal(table(torch.tensor([-1])), torch.zeros(1, 40))
    table(torch.tensor([1999])).sum().backward()
    assert dense(table.weight.grad).count_nonzero() == 40


def test_growing_to_what_there_is_or_less_changes_nothing():
    table = Embedding(5, 2)
    weight = table.weight
    for num in (5, 3, 0):
        table.grow(num)
        assert table.weight is weight


def test_growing_keeps_precision_and_a_frozen_table_frozen():
    table = Embedding(5, 2).double()
    table.weight.requires_grad_(False)
    table.grow(9)
    assert table.weight.dtype == torch.float64
    assert not table.weight.requires_grad


def test_an_empty_table_knows_nothing_but_minus_one():
    assert torch.equal(Embedding(0, 3)(torch.tensor([-1, -1])), torch.zeros(2, 3))


@pytest.mark.parametrize("code", [7, -2])
def test_a_code_outside_the_table_is_refused(code):
    with pytest.raises(IndexError):
        Embedding(7, 3)(torch.tensor([0, code]))


@pytest.mark.parametrize("num, dim, std", [(-1, 3, 0.1), (4, 0, 0.1), (4, 3, -0.1), (4, 3, float("nan"))])
def test_impossible_tables_are_refused(num, dim, std):
    with pytest.raises(ParameterError, match="Embedding needs"):
        Embedding(num, dim, std=std)


# -- FieldEmbedding ------------------------------------------------------------------------------------------------------

SIZES = [3, 1, 5]


def separate_tables(together):
    """One table a field with the vectors of the common one."""
    tables = []
    for size, start in zip(SIZES, np.cumsum([0, *SIZES]), strict=False):
        table = Embedding(size, together.table.weight.shape[1])
        table.weight.data[1:] = together.table.vectors[start : start + size].detach()
        tables.append(table)
    return tables


def row_codes(slot_fields, n=20):
    """Random codes (n, S) of each slot's field, some of them -1."""
    return torch.stack([torch.randint(-1, SIZES[field], (n,)) for field in slot_fields], 1)


@pytest.mark.parametrize("sparse", [False, True])
def test_fields_in_one_table_equal_separate_tables(sparse):
    together = FieldEmbedding(SIZES, 4, std=1.0, sparse=sparse)
    tables, codes = separate_tables(together), row_codes(range(3))
    weights = torch.rand(20, 3, 4)
    alone = torch.stack([table(codes[:, field]) for field, table in enumerate(tables)], 1)
    assert torch.equal(together(codes), alone)
    (together(codes) * weights).sum().backward()
    (alone * weights).sum().backward()
    wanted = torch.cat([table.weight.grad[1:] for table in tables])
    torch.testing.assert_close(dense(together.table.weight.grad)[1:], wanted)


def test_values_multiply_their_slots_vectors():
    table, codes, values = FieldEmbedding(SIZES, 4, std=1.0), row_codes(range(3)), torch.rand(20, 3)
    assert torch.equal(table(codes, values), table(codes) * values[..., None])


@pytest.mark.parametrize("slot_fields", [[0, 0, 1, 2, 2, 2], [2, 0, 2, 1], [0, 2]])
def test_slots_of_one_field_are_summed(slot_fields):
    table = FieldEmbedding(SIZES, 4, fields=slot_fields, std=1.0)
    tables, codes, values = separate_tables(table), row_codes(slot_fields), torch.rand(20, len(slot_fields))
    wanted = torch.zeros(20, 3, 4)
    for row in range(20):
        for slot, field in enumerate(slot_fields):
            wanted[row, field] += values[row, slot] * tables[field](codes[row, slot]).detach()
    torch.testing.assert_close(table(codes, values), wanted)
    torch.testing.assert_close(table(codes), table(codes, torch.ones_like(values)))


def test_slots_of_one_field_are_summed_in_full_precision_under_autocast():
    table = FieldEmbedding(SIZES, 4, fields=[0, 0, 1, 2], std=1.0)
    codes = row_codes([0, 0, 1, 2])
    wanted = table(codes)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(table(codes), wanted)


def test_what_is_no_member_of_a_field_is_zeros():
    table = FieldEmbedding(SIZES, 4, std=1.0)
    assert table(torch.full((2, 3), -1)).count_nonzero() == 0
    assert table(torch.empty((0, 3), dtype=torch.long)).shape == (0, 3, 4)


def test_saved_weights_are_the_table_alone():
    assert list(FieldEmbedding(SIZES, 4, fields=[0, 0, 1, 2]).state_dict()) == ["table.weight"]


@pytest.mark.parametrize("fields", [[0, 3], [-1, 0]])
def test_slots_of_no_field_are_refused(fields):
    with pytest.raises(ParameterError, match="fields 0 to 2"):
        FieldEmbedding(SIZES, 4, fields=fields)


def test_a_field_of_negative_size_is_refused():
    with pytest.raises(ParameterError, match="sizes"):
        FieldEmbedding([3, -1], 4)


# -- EmbeddingBag --------------------------------------------------------------------------------------------------------

CODES = torch.tensor([0, 4, 4, -1, -1, 3, -1, 2])
LENGTHS = torch.tensor([0, 3, 1, 3, 0, 1])
WEIGHTS = torch.tensor([0.5, 1.5, 0.25, 9.0, 9.0, -2.0, 3.0, 0.0])


def pooled(vectors, codes, lengths, weights, mode):
    """The definition, a bag at a time."""
    out, start = torch.zeros(len(lengths), vectors.shape[1], dtype=vectors.dtype), 0
    for bag, length in enumerate(lengths.tolist()):
        members = [at for at in range(start, start + length) if codes[at] >= 0]
        start += length
        if not members:
            continue
        w = weights[members]
        weighed = vectors[codes[members]] * w[:, None]
        scale = {"mean": w.sum(), "sqrtn": w.square().sum().sqrt()}.get(mode, torch.tensor(1.0))
        out[bag] = weighed.amax(0) if mode == "max" else weighed.sum(0) / (scale if scale != 0 else 1)
    return out


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sparse", [False, True])
def test_bags_are_pooled_as_by_a_loop(mode, sparse):
    bags = EmbeddingBag(6, 3, mode, std=1.0, sparse=sparse)
    vectors = bags.table.vectors.detach()
    for weights in (WEIGHTS, torch.rand(8)):
        torch.testing.assert_close(bags(CODES, LENGTHS, weights), pooled(vectors, CODES, LENGTHS, weights, mode))
    torch.testing.assert_close(bags(CODES, LENGTHS), pooled(vectors, CODES, LENGTHS, torch.ones(8), mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_of_bags_are_those_of_the_loop(mode, sparse):
    bags = EmbeddingBag(6, 3, mode, std=1.0, sparse=sparse)
    vectors, aim = bags.table.vectors.detach().clone().requires_grad_(), torch.rand(6, 3)
    weights = torch.rand(8)
    (bags(CODES, LENGTHS, weights) * aim).sum().backward()
    (pooled(vectors, CODES, LENGTHS, weights, mode) * aim).sum().backward()
    gradient = dense(bags.table.weight.grad)
    torch.testing.assert_close(gradient[1:], vectors.grad)
    assert gradient[0].count_nonzero() == 0


@pytest.mark.parametrize("mode", MODES)
def test_gradients_of_weights_are_finite_where_a_bag_has_no_member(mode):
    bags = EmbeddingBag(6, 3, mode, std=1.0).double()

    def of(vectors, weights):
        return torch.func.functional_call(bags, {"table.weight": vectors}, (CODES, LENGTHS, weights))

    weights = (torch.rand(8, dtype=torch.float64) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(of, (bags.table.weight.detach().clone().requires_grad_(), weights))


@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_finite_where_all_weights_are_zero(mode):
    bags, weights = EmbeddingBag(6, 3, mode, std=1.0), torch.zeros(3, requires_grad=True)
    bags(torch.tensor([1, 2, -1]), torch.tensor([2, 1]), weights).sum().backward()
    assert torch.isfinite(weights.grad).all()
    assert torch.isfinite(bags.table.weight.grad).all()


@pytest.mark.parametrize("mode", MODES)
def test_empty_bags_are_zeros(mode):
    bags = EmbeddingBag(6, 3, mode, std=1.0)
    nothing = CODES[:0]
    assert torch.equal(bags(nothing, torch.tensor([0, 0])), torch.zeros(2, 3))
    assert bags(nothing, LENGTHS[:0]).shape == (0, 3)
    assert torch.equal(bags(torch.tensor([-1, -1]), torch.tensor([2])), torch.zeros(1, 3))


@pytest.mark.parametrize("mode", ["mean", "max", "sqrtn"])
def test_a_bag_of_one_is_its_vector(mode):
    bags = EmbeddingBag(6, 3, mode, std=1.0)
    torch.testing.assert_close(bags(torch.tensor([2]), torch.tensor([1])), bags.table.vectors[2:3])


def test_an_unknown_mode_is_refused():
    with pytest.raises(ParameterError, match="mode='median'"):
        EmbeddingBag(6, 3, "median")


@pytest.mark.parametrize("lengths", [[4, 3], [4, 5], [9, -1]])
def test_lengths_that_do_not_add_up_are_refused(lengths):
    with pytest.raises(DataError, match="8 codes for bags of"):
        EmbeddingBag(6, 3)(CODES, torch.tensor(lengths))
