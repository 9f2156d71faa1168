"""Products of a row's vectors with each other and their gradient, against plain loops."""

import numpy as np
import pytest

from recsys.kernels import interactions
from recsys.kernels.interactions import pair_products, pair_products_back

N_ROWS = 21


def problem(n_vectors, dim, dtype):
    rng = np.random.default_rng(dim)
    return rng.normal(size=(N_ROWS, n_vectors, dim)).astype(dtype), rng.normal(size=N_ROWS).astype(dtype)


def products_twin(e):
    out = np.zeros(len(e))
    for row, vectors in enumerate(e.astype(np.float64)):
        for later in range(len(vectors)):
            for earlier in range(later):
                out[row] += vectors[later] @ vectors[earlier]
    return out


def back_twin(e, gradient):
    out = np.zeros(e.shape)
    for row, vectors in enumerate(e.astype(np.float64)):
        for f in range(len(vectors)):
            out[row, f] = gradient[row] * sum(vectors[g] for g in range(len(vectors)) if g != f)
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n_vectors", "dim"), [(1, 4), (2, 1), (6, 16), (5, 10), (3, 31), (4, 48)])
def test_sums_and_gradient_are_those_of_loops(n_vectors, dim, dtype):
    e, gradient = problem(n_vectors, dim, dtype)
    out = np.full(e.shape, np.nan, dtype)
    pair_products_back(e, gradient, None, out)
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(pair_products(e), products_twin(e), rtol=0, atol=tolerance)
    np.testing.assert_allclose(out, back_twin(e, gradient), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dim", [1, 10, 16])
def test_what_else_comes_back_is_added(dim):
    e, gradient = problem(3, dim, np.float32)
    alone, both, more = np.empty_like(e), np.empty_like(e), np.flip(e, 0).copy()
    pair_products_back(e, gradient, None, alone)
    pair_products_back(e, gradient, more, both)
    np.testing.assert_allclose(both, alone + more, rtol=1e-6, atol=1e-6)


def test_threads_do_not_change_a_bit(monkeypatch):
    monkeypatch.setattr(interactions, "SMALL", 0)
    e, gradient = problem(5, 10, np.float32)
    found = []
    for n_jobs in (1, 3):
        out = np.full(e.shape, np.nan, np.float32)
        pair_products_back(e, gradient, None, out, n_jobs)
        found.append((pair_products(e, n_jobs), out))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_no_rows_give_nothing():
    assert pair_products(np.empty((0, 3, 4), np.float32)).shape == (0,)
