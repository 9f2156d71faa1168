"""Non-negative elastic nets against a plain loop, scikit-learn and the conditions of optimality."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import ElasticNet

from recsys.kernels.coordinate_descent import solve_columns

TIGHT = {"tolerance": 1e-9, "max_iterations": 10_000}


def table(n_users=200, n_items=40, *, weighted=False, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.random((n_users, n_items)) < rng.uniform(0.05, 0.5, n_items)).astype(np.float64)
    return x * rng.integers(1, 5, x.shape) / 2 if weighted else x


def solved(x, l1, l2, near=None, *, whole_gram=True, n_jobs=1, tolerance=1e-9, max_iterations=10_000, **more):
    sparse = sp.csr_matrix(x.astype(np.float32))
    by_item = sparse.T.tocsr()
    sides = (sp.identity(x.shape[1], np.float32, "csr"), by_item @ sparse) if whole_gram else (by_item, sparse)
    weights, passes = solve_columns(*sides, (x**2).sum(0), near, l1, l2, tolerance, max_iterations, n_jobs, **more)
    return weights.toarray(), passes


def plain(x, l1, l2, allowed):
    """The definition: one coordinate after the other at its best, residuals kept, until nothing moves."""
    n = x.shape[1]
    w = np.zeros((n, n))
    for j in range(n):
        for _ in range(3000):
            before = w[:, j].copy()
            for i in range(n):
                if allowed[i, j]:
                    rest = x[:, j] - x @ w[:, j] + x[:, i] * w[i, j]
                    w[i, j] = max(0.0, (x[:, i] @ rest - l1) / (x[:, i] @ x[:, i] + l2))
            if np.abs(w[:, j] - before).max() < 1e-11:
                break
    return w


def violation(x, w, l1, l2, allowed):
    """How far each allowed weight is off: its gradient where it is above 0, the negative part of it where it is 0."""
    gradient = x.T @ (x @ w - x) + l2 * w + l1
    return np.where(allowed, np.where(w > 0, np.abs(gradient), np.maximum(-gradient, 0)), 0)


def all_others(n):
    return ~np.eye(n, dtype=bool)


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 1.0), (1.0, 0.0), (2.0, 5.0), (30.0, 0.5)])
@pytest.mark.parametrize("whole_gram", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_columns_are_those_of_a_plain_loop(l1, l2, whole_gram, weighted):
    x = table(40, 9, weighted=weighted)
    w, _ = solved(x, l1, l2, whole_gram=whole_gram)
    np.testing.assert_allclose(w, plain(x, l1, l2, all_others(9)), atol=1e-6)


@pytest.mark.parametrize(("l1", "l2"), [(1.0, 1.0), (0.1, 5.0), (5.0, 0.1)])
def test_columns_are_scikit_learns_elastic_net(l1, l2):
    x = table()
    w, _ = solved(x, l1, l2)
    share = {"alpha": (l1 + l2) / len(x), "l1_ratio": l1 / (l1 + l2)}
    for j in range(x.shape[1]):
        others = x.copy()
        others[:, j] = 0
        net = ElasticNet(**share, positive=True, fit_intercept=False, tol=1e-10, max_iter=100_000).fit(others, x[:, j])
        np.testing.assert_allclose(w[:, j], net.coef_, atol=1e-6)


@pytest.mark.parametrize("whole_gram", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_every_column_meets_the_conditions_of_optimality(whole_gram, weighted):
    x, l1, l2 = table(300, 70, weighted=weighted), 2.0, 3.0
    w, _ = solved(x, l1, l2, whole_gram=whole_gram)
    assert (w >= 0).all()
    assert (np.diag(w) == 0).all()
    assert 0.05 < (w > 0).mean() < 0.9
    assert violation(x, w, l1, l2, all_others(70)).max() < 1e-4  # of gradients that begin at 100


def test_a_looser_tolerance_stops_earlier_and_holds_what_it_says():
    x = table(300, 70)
    gram = x.T @ x
    np.fill_diagonal(gram, 0)
    passes_before = np.inf
    for tolerance in (1e-6, 1e-3, 1e-1):
        w, passes = solved(x, 1.0, 1.0, tolerance=tolerance)
        worst = violation(x, w, 1.0, 1.0, all_others(70)).max(0)
        assert (worst <= tolerance * (gram.max(0) - 1.0) + 1e-4).all()
        assert passes.sum() < passes_before
        passes_before = passes.sum()


def test_columns_that_run_out_of_passes_say_so():
    x = table()
    _, enough = solved(x, 1.0, 1.0)
    _, passes = solved(x, 1.0, 1.0, max_iterations=5)
    np.testing.assert_array_equal(passes, np.where(enough > 5, 6, enough))
    assert (passes == 6).any()


@pytest.mark.parametrize("whole_gram", [True, False])
def test_a_restricted_column_is_the_regression_on_its_candidates(whole_gram):
    x = table(40, 12)
    rng = np.random.default_rng(1)
    near = np.array([rng.permutation(12)[:4] for _ in range(12)])
    near[3], near[5, 1:] = -1, -1
    allowed = np.zeros((12, 12), bool)
    for j, row in enumerate(near):
        allowed[row[row >= 0], j] = True
    np.fill_diagonal(allowed, False)
    w, _ = solved(x, 0.5, 1.0, near, whole_gram=whole_gram)
    np.testing.assert_allclose(w, plain(x, 0.5, 1.0, allowed), atol=1e-6)


@pytest.mark.parametrize("row_buffer", [0, 100, 900])
def test_rows_that_find_no_room_are_made_again(row_buffer):
    x = table(300, 70)
    full, full_passes = solved(x, 1.0, 1.0)
    w, passes = solved(x, 1.0, 1.0, row_buffer=row_buffer)
    np.testing.assert_array_equal(w, full)
    np.testing.assert_array_equal(passes, full_passes)


def test_neither_the_threads_nor_the_way_to_the_gram_matrix_change_a_bit():
    x = table(300, 70)
    reference, _ = solved(x, 1.0, 1.0)
    for how in ({"n_jobs": 3}, {"whole_gram": False}, {"whole_gram": False, "n_jobs": 3}):
        np.testing.assert_array_equal(solved(x, 1.0, 1.0, **how)[0], reference)


def test_items_without_users_or_without_company_have_no_weights():
    x = table(50, 10)
    x[:, 4] = 0
    x[:, 7] = 0
    x[3, :], x[3, 7] = 0, 1
    w, passes = solved(x, 0.0, 1.0)
    assert not w[[4, 7]].any()
    assert not w[:, [4, 7]].any()
    np.testing.assert_array_equal(passes[[4, 7]], 0)


def test_twins_share_a_column_and_an_l2_penalty_splits_it_evenly():
    x = table(100, 3)
    x = np.concatenate([x, x[:, :1]], axis=1)
    w, _ = solved(x, 0.0, 1.0)
    # Item 0 is item 3: each all but explains the other, and they help items 1 and 2 alike.
    assert w[3, 0] > 0.8
    np.testing.assert_allclose(w[0, 1:3], w[3, 1:3], atol=1e-6)


def test_no_dense_gram_matrix_is_made():
    n = 30_000
    pairs = np.repeat(np.arange(n // 2), 2), np.arange(n)
    sparse = sp.csr_matrix((np.ones(n, np.float32), pairs))
    by_item, diagonal = sparse.T.tocsr(), np.ones(n)
    solve_columns(by_item[:2, :1], sparse[:1, :2], diagonal[:2], None, 0.0, 1.0, 1e-6, 10, 1)
    tracemalloc.start()
    weights, _ = solve_columns(by_item, sparse, diagonal, None, 0.0, 1.0, 1e-6, 10, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Each item has one companion, and half of it.
    assert weights.nnz == n
    np.testing.assert_allclose(weights.data, 0.5, rtol=1e-6)
    assert peak < 4 * n**2 / 20
