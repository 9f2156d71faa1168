"""The packed Gram matrix and its inverse against dense NumPy."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp

from recsys.kernels.gram import BLOCK, invert_packed, packed_gram, packed_weights


def table(n_rows, n_columns, seed=0):
    """A sparse matrix of odd weights with a zero that is stored."""
    rng = np.random.default_rng(seed)
    x = sp.random(n_rows, n_columns, 0.3, "csr", np.float32, rng)
    x.sort_indices()
    x.data[:1] = 0
    return x


def unpacked(packed, n):
    lower, failed = scipy.linalg.lapack.dtfttr(n, packed, transr="N", uplo="L")
    assert not failed
    return np.tril(lower) + np.tril(lower, -1).T


SIZES = [1, 2, 3, 4, 5, 8, 31, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 10]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("n_jobs", [1, 3])
def test_the_gram_matrix_is_the_product_and_a_ridge(n, n_jobs):
    x = table(60, n)
    dense = x.toarray().astype(np.float64)
    packed = packed_gram(x, 2.5, n_jobs)
    assert packed.shape == (n * (n + 1) // 2,)
    np.testing.assert_allclose(unpacked(packed, n), dense.T @ dense + 2.5 * np.eye(n), atol=1e-12)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("n_jobs", [1, 3])
def test_the_weights_come_from_the_inverse(n, n_jobs):
    x = table(60, n)
    dense = x.toarray().astype(np.float64)
    packed = packed_gram(x, 2.5)
    assert invert_packed(packed, n)
    p = np.linalg.inv(dense.T @ dense + 2.5 * np.eye(n))
    np.testing.assert_allclose(unpacked(packed, n), p, atol=1e-12)
    wanted = -p / np.diag(p)
    np.fill_diagonal(wanted, 0)
    found = packed_weights(packed, n, n_jobs)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-7)


def test_a_matrix_that_is_not_definite_is_not_inverted():
    x = sp.csr_matrix(np.ones((3, 2), np.float32))
    assert not invert_packed(packed_gram(x, 0.0), 2)
    assert not invert_packed(packed_gram(x, -4.0), 2)


def test_threads_change_no_bit():
    x = table(300, 150)
    np.testing.assert_array_equal(packed_gram(x, 1.0, 1), packed_gram(x, 1.0, 5))


def test_the_matrix_given_is_only_read():
    x = table(50, 20)
    before = x.copy()
    packed_gram(x, 1.0)
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(x, name), getattr(before, name))
