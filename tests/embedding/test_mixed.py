"""Fields with vectors of different lengths, against one table and one matrix a field."""

import pytest
import torch

from recsys.embedding import FieldEmbedding, MixedEmbedding, mixed_dims
from recsys.errors import ParameterError

SIZES, DIMS = [3, 40, 5, 900], (6, 2, 6, 1)


def row_codes(slots, n=30):
    return torch.stack([torch.randint(-1, SIZES[field], (n,)) for field in slots], 1)


def parts(net, field):
    """The vectors (size, d) of a field and its matrix (d, dim)."""
    lengths = sorted(set(net.dims))
    group = lengths.index(net.dims[field])
    own = [one for one, length in enumerate(net.dims) if length == net.dims[field]]
    at = own.index(field)
    start = sum(SIZES[one] for one in own[:at])
    vectors = net.tables[group].table.vectors[start : start + SIZES[field]]
    matrix = net.projections[group][at] if group < len(net.projections) else torch.eye(net.dims[field])
    return vectors, matrix


def test_each_field_reads_its_short_vectors_through_its_matrix():
    net = MixedEmbedding(SIZES, 6, DIMS, std=1.0)
    codes = row_codes(range(4))
    out = net(codes)
    assert out.shape == (30, 4, 6)
    for row, field in [(row, field) for row in range(30) for field in range(4)]:
        vectors, matrix = parts(net, field)
        code = codes[row, field]
        wanted = vectors[code] @ matrix if code >= 0 else torch.zeros(6)
        torch.testing.assert_close(out[row, field], wanted)


@pytest.mark.parametrize("slots", [[0, 0, 1, 2, 3, 3], [3, 1, 0, 1], [0, 2]])
def test_slots_of_one_field_are_summed_by_their_values(slots):
    net = MixedEmbedding(SIZES, 6, DIMS, fields=slots, std=1.0)
    codes, values = row_codes(slots), torch.rand(30, len(slots))
    wanted = torch.zeros(30, 4, 6)
    for at, field in enumerate(slots):
        vectors, matrix = parts(net, field)
        known = codes[:, at] >= 0
        wanted[known, field] += values[known, at, None] * (vectors[codes[known, at]] @ matrix)
    torch.testing.assert_close(net(codes, values), wanted.detach(), rtol=1e-4, atol=1e-5)


def test_with_full_lengths_it_is_a_field_embedding():
    mixed, plain = MixedEmbedding(SIZES, 6, [6] * 4, std=1.0), FieldEmbedding(SIZES, 6)
    plain.load_state_dict(mixed.tables[0].state_dict())
    codes = row_codes(range(4))
    assert torch.equal(mixed(codes), plain(codes))
    assert len(mixed.projections) == 0


def test_vectors_start_with_the_standard_deviation_that_is_asked_for():
    net = MixedEmbedding([2000, 30_000], 40, [40, 20], std=0.2)
    codes = torch.stack([torch.randint(2000, (5000,)), torch.randint(30_000, (5000,))], 1)
    assert net(codes)[:, 0].std().item() == pytest.approx(0.2, rel=0.05)
    assert net(codes)[:, 1].std().item() == pytest.approx(0.2, rel=0.15)


def test_lengths_fall_with_the_size_by_the_power_that_is_asked_for():
    assert mixed_dims([10, 1000, 100_000], 16, 0.5) == (16, 2, 1)
    assert mixed_dims([10, 1000, 100_000], 16, 0.0) == (16, 16, 16)
    assert mixed_dims([10, 100, 1000], 64, 0.3) == (64, 32, 16)
    assert mixed_dims([0, 10, 1000], 8, 0.5) == (8, 8, 1)


def test_memory_is_the_sum_of_the_lengths():
    net = MixedEmbedding(SIZES, 6, DIMS)
    assert sum(table.table.vectors.numel() for table in net.tables) == sum(
        size * length for size, length in zip(SIZES, DIMS, strict=True)
    )


def test_sparse_tables_have_sparse_gradients_and_matrices_dense_ones():
    net = MixedEmbedding(SIZES, 6, DIMS, std=1.0, sparse=True)
    net(row_codes(range(4))).square().sum().backward()
    assert all(table.table.weight.grad.is_sparse for table in net.tables)
    assert not any(matrix.grad.is_sparse for matrix in net.projections)


@pytest.mark.parametrize("dims", [(6, 2, 6), (7, 2, 6, 1), (6, 0, 6, 1)])
def test_lengths_that_no_matrix_maps_are_refused(dims):
    with pytest.raises(ParameterError, match="one a field, from 1 to 6"):
        MixedEmbedding(SIZES, 6, dims)


def test_a_negative_temperature_and_slots_of_no_field_are_refused():
    with pytest.raises(ParameterError, match="temperature=-1"):
        MixedEmbedding(SIZES, 6, temperature=-1)
    with pytest.raises(ParameterError, match="fields 0 to 3"):
        MixedEmbedding(SIZES, 6, fields=[4])
