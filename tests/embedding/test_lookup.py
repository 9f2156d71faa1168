"""Lookup of valued slots by the kernel of the CPU, against the same table without it."""

import pytest
import torch

from recsys.embedding import FieldEmbedding

SIZES, FIELDS = (6, 1, 9), (0, 1, 2, 2, 2)


def tables(sparse):
    """A table, and its like in double precision, which torch's own functions look up."""
    torch.manual_seed(5)
    made = FieldEmbedding(SIZES, 4, fields=FIELDS, std=1.0, sparse=sparse)
    twin = FieldEmbedding(SIZES, 4, fields=FIELDS, std=1.0, dtype=torch.float64)
    twin.load_state_dict(made.state_dict())
    return made, twin


def rows():
    generator = torch.Generator().manual_seed(1)
    codes = torch.stack([torch.randint(-1, SIZES[field], (20,), generator=generator) for field in FIELDS], 1)
    return codes, torch.rand(codes.shape, generator=generator)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("name", ["forward", "slot_vectors"])
def test_vectors_and_gradient_are_those_of_torchs_own_functions(name, sparse):
    (codes, values), factors = rows(), []
    for table in tables(sparse):
        vectors = (table if name == "forward" else table.slot_vectors)(codes, values)
        (vectors.double() - 0.3).square().sum().backward()
        gradient = table.table.weight.grad
        factors.append((vectors.double(), gradient.to_dense().double()))
    for ours, theirs in zip(*factors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_sparse_gradient_names_the_rows_of_known_codes_alone():
    codes, values = rows()
    table = tables(sparse=True)[0]
    table(codes, values).sum().backward()
    gradient = table.table.weight.grad
    assert gradient.is_sparse
    wanted = (codes + table.start + 1)[codes >= 0]
    assert torch.equal(gradient._indices()[0], wanted)


def test_slots_that_are_not_in_one_piece_are_read_as_they_are():
    codes, values = rows()
    table = tables(sparse=False)[0]
    turned = codes.T.contiguous().T, values.T.contiguous().T
    assert torch.equal(table(*turned), table(codes, values))


def test_values_that_are_trained_get_a_gradient():
    codes, values = rows()
    values.requires_grad_()
    tables(sparse=False)[0](codes, values).sum().backward()
    assert values.grad is not None
    assert values.grad[codes >= 0].count_nonzero() > 0
