"""Hashed keys against the hash in plain integers, and quotient-remainder tables against indexing."""

import numpy as np
import pytest
import torch

from recsys.embedding import HashEmbedding, QREmbedding
from recsys.embedding.hashed import bucket
from recsys.errors import ParameterError
from tests.kernels.splitmix import drawn

KEYS = [0, 1, -2, 12345678901234567, 2**63 - 1, -(2**63), -1]


@pytest.mark.parametrize("n_buckets", [1, 7, 1000, 2**31 - 1])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_buckets_are_those_of_the_published_function(n_buckets, n):
    got = bucket(torch.tensor(KEYS), n_buckets, n).tolist()
    assert got == [drawn(key % 2**64, n, n_buckets) for key in KEYS]


def test_consecutive_keys_fill_buckets_evenly():
    counts = torch.bincount(bucket(torch.arange(100_000), 100), minlength=100).double()
    # Chi-square of 99 degrees of freedom: mean 99, standard deviation 14.
    assert ((counts - 1000) ** 2 / 1000).sum() < 99 + 4 * 14


def test_hashes_of_one_key_are_independent():
    first, second = (bucket(torch.arange(50_000), 10, n) for n in (0, 1))
    joint = torch.bincount(first * 10 + second, minlength=100).double()
    assert ((joint - 500) ** 2 / 500).sum() < 99 + 4 * 14


@pytest.mark.parametrize("n_hashes", [1, 3])
def test_a_key_reads_the_sum_of_its_rows(n_hashes):
    table = HashEmbedding(50, 4, n_hashes, std=1.0)
    keys = torch.tensor(KEYS[:6]).view(2, 3)
    rows = [[drawn(key % 2**64, n, 50) for n in range(n_hashes)] for key in KEYS[:6]]
    wanted = torch.stack([table.table.vectors[row].sum(0) for row in rows]).view(2, 3, 4)
    torch.testing.assert_close(table(keys), wanted)


@pytest.mark.parametrize("sparse", [True, False])
def test_key_minus_one_is_zeros_and_trains_nothing(sparse):
    table = HashEmbedding(50, 4, 2, std=1.0, sparse=sparse)
    vectors = table(torch.tensor([-1, -1]))
    assert torch.equal(vectors, torch.zeros(2, 4))
    vectors.sum().backward()
    assert table.table.weight.grad.to_dense().count_nonzero() == 0


def test_more_hashes_tell_more_keys_apart():
    keys = torch.arange(1000)
    vectors = [HashEmbedding(1000, 4, n_hashes, std=1.0)(keys).detach() for n_hashes in (1, 2)]
    one, two = (len(np.unique(part.numpy().round(4), axis=0)) for part in vectors)
    assert one < 700
    assert two > 990


@pytest.mark.parametrize("n_hashes", [1, 4])
def test_hashed_vectors_start_with_the_standard_deviation_that_is_asked_for(n_hashes):
    vectors = HashEmbedding(5000, 20, n_hashes, std=0.3)(torch.arange(5000))
    assert vectors.std().item() == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize("given", [{"num_buckets": 0}, {"num_buckets": 2**31}, {"num_buckets": 5, "n_hashes": 0}])
def test_impossible_hash_tables_are_refused(given):
    with pytest.raises(ParameterError, match=rf"HashEmbedding: {list(given)[-1]}"):
        HashEmbedding(**given, dim=2)


# -- quotient and remainder ----------------------------------------------------------------------------------------------

COMBINE = {
    "multiply": lambda a, b: a * b,
    "add": lambda a, b: a + b,
    "concat": lambda a, b: torch.cat([a, b]),
}


@pytest.mark.parametrize("combine", COMBINE)
def test_a_code_reads_its_quotients_and_its_remainders_row(combine):
    table = QREmbedding(23, 5, 4, combine, std=1.0)
    vectors = table(torch.arange(23))
    assert vectors.shape == (23, 5)
    for code in range(23):
        parts = table.remainder.vectors[code % 4], table.quotient.vectors[code // 4]
        torch.testing.assert_close(vectors[code], COMBINE[combine](*parts))


@pytest.mark.parametrize("combine", COMBINE)
def test_every_code_has_a_vector_of_its_own(combine):
    vectors = QREmbedding(500, 6, 22, combine, std=1.0)(torch.arange(500)).detach().numpy()
    assert len(np.unique(vectors.round(5), axis=0)) == 500


def test_both_tables_together_have_few_rows():
    table = QREmbedding(10_000, 3, 100)
    assert sum(len(part.vectors) for part in (table.remainder, table.quotient)) == 200


@pytest.mark.parametrize("combine", COMBINE)
@pytest.mark.parametrize("sparse", [True, False])
def test_minus_one_is_zeros_in_both_tables_and_trains_nothing(combine, sparse):
    table = QREmbedding(23, 4, 5, combine, std=1.0, sparse=sparse)
    vectors = table(torch.tensor([[-1, 3]]))
    assert torch.equal(vectors[0, 0], torch.zeros(4))
    vectors.sum().backward()
    for part, row in ((table.remainder, 3), (table.quotient, 0)):
        gradient = part.weight.grad.to_dense()
        assert gradient[row + 1].count_nonzero() > 0
        assert gradient.count_nonzero() == gradient[row + 1].count_nonzero()


@pytest.mark.parametrize("combine", COMBINE)
def test_vectors_start_with_the_standard_deviation_that_is_asked_for(combine):
    vectors = QREmbedding(40_000, 30, 200, combine, std=0.1)(torch.arange(40_000))
    assert vectors.std().item() == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("code", [-2, 25])
def test_a_code_outside_the_table_is_refused(code):
    with pytest.raises(IndexError):
        QREmbedding(23, 4, 5)(torch.tensor([0, code]))


@pytest.mark.parametrize(
    "given, named", [({"combine": "xor"}, "combine='xor'"), ({"n_buckets": 0}, "n_buckets=0"), ({"dim": 1}, "dim=1")]
)
def test_impossible_quotient_remainder_tables_are_refused(given, named):
    with pytest.raises(ParameterError, match=f"QREmbedding: {named}"):
        QREmbedding(**{"num": 9, "dim": 4, "n_buckets": 3, "combine": "concat", **given})
