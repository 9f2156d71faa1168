"""Histories times sparse weights against dense products and a stable sort."""

import tracemalloc
from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.errors import DataError, ParameterError
from recsys.kernels.history import rank_history, score_history, score_history_pairs
from recsys.kernels.tile import CHUNK


def whole(rng, n_rows, n_columns, density, low=-3, high=4):
    """A CSR matrix of small whole numbers: sums are exact in any order, and ties abound."""
    table = rng.integers(low, high, (n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < density)
    return sp.csr_matrix(table.astype(np.float32))


def oracle(given, weights, k, allowed=None, seen=None):
    """Every score by a loop, what is seen or no number removed, a stable sort by falling score, cut and padded."""
    w = weights.toarray()
    allowed = np.arange(w.shape[1]) if allowed is None else allowed
    codes, best = np.full((given.shape[0], k), -1), np.full((given.shape[0], k), -np.inf, np.float32)
    for row in range(given.shape[0]):
        scores = np.zeros(w.shape[1], np.float32)
        for i, x in zip(given[row].indices, given[row].data, strict=True):
            scores += x * w[i]
        scores = scores[allowed]
        hidden = set() if seen is None else set(seen[row].indices)
        order = np.argsort(-scores, kind="stable")
        listed = [i for i in order if i not in hidden and not np.isnan(scores[i]) and scores[i] != -np.inf][:k]
        codes[row, : len(listed)], best[row, : len(listed)] = listed, scores[listed]
    return codes, best


def assert_same(actual, expected):
    np.testing.assert_array_equal(actual[0], expected[0])
    np.testing.assert_array_equal(actual[1], expected[1])


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize("n_items", [1, 5, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 200])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("n_jobs", [1, 3])
def test_lists_are_those_of_a_stable_sort_of_all_scores(rng, n_items, density, n_jobs):
    given, weights = whole(rng, 17, n_items, 0.1), whole(rng, n_items, n_items, density)
    seen = whole(rng, 17, n_items, 0.3, 1, 2)
    for k, left_out in product((1, 4, n_items), (None, seen)):
        found = rank_history(given, weights, k, None, left_out, n_jobs)
        assert_same(found, oracle(given, weights, k, None, left_out))


@pytest.mark.parametrize("step", [1, 2, 7, 90])
def test_candidates_are_ranked_by_their_positions(rng, step):
    given, weights = whole(rng, 17, 120, 0.1), whole(rng, 120, 120, 0.1)
    allowed = np.arange(3, 120, step)
    seen = whole(rng, 17, len(allowed), 0.3, 1, 2)
    for k in (1, 6, 120):
        assert_same(rank_history(given, weights, k, allowed), oracle(given, weights, k, allowed))
        assert_same(rank_history(given, weights, k, allowed, seen), oracle(given, weights, k, allowed, seen))


def test_matrices_between_two_sorts_of_things_are_multiplied_too(rng):
    given, weights = whole(rng, 6, 40, 0.3), whole(rng, 40, 75, 0.3)
    assert_same(rank_history(given, weights, 8, np.arange(0, 75, 2)), oracle(given, weights, 8, np.arange(0, 75, 2)))
    np.testing.assert_array_equal(score_history(given, weights), given.toarray() @ weights.toarray())


def test_no_candidates_and_no_rows_give_empty_lists(rng):
    given, weights = whole(rng, 3, 40, 0.1), whole(rng, 40, 40, 0.1)
    codes, scores = rank_history(given, weights, 2, np.empty(0, np.int64))
    assert (codes == -1).all()
    assert (scores == -np.inf).all()
    assert rank_history(given[:0], weights, 5)[0].shape == (0, 5)
    assert rank_history(given, weights, 0)[0].shape == (3, 0)


def test_items_that_nothing_leads_to_score_0_behind_what_is_above_and_before_what_is_below():
    weights = sp.csr_matrix(np.float32([[0, 0, -1, 2, 0, -3], *[[0] * 6] * 5]))
    given = sp.csr_matrix(np.float32([[1, 0, 0, 0, 0, 0]]))
    codes, scores = rank_history(given, weights, 6, None, given)
    np.testing.assert_array_equal(codes, [[3, 1, 4, 2, 5, -1]])
    np.testing.assert_array_equal(scores, [[2, 0, 0, -1, -3, -np.inf]])


def test_weights_that_cancel_out_score_0_like_the_untouched():
    table = np.zeros((80, 80), np.float32)
    table[0, 70], table[1, 70], table[0, 5] = 2, -2, 1
    given = sp.csr_matrix(np.eye(80, dtype=np.float32)[:1] + np.eye(80, dtype=np.float32)[1:2])
    codes, _ = rank_history(given, sp.csr_matrix(table), 4)
    np.testing.assert_array_equal(codes, [[5, 0, 1, 2]])


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_what_is_no_number_or_minus_infinity_is_never_listed(value):
    table = np.zeros((40, 40), np.float32)
    table[0, 1], table[0, 35] = value, 1
    given = sp.csr_matrix(np.eye(40, dtype=np.float32)[:1])
    codes, scores = rank_history(given, sp.csr_matrix(table), 40)
    assert codes[0].tolist() == [35, 0, *range(2, 35), *range(36, 40), -1]
    assert np.isfinite(scores[0, :-1]).all()


def test_a_row_leaves_nothing_behind_for_the_next(rng):
    given, weights = whole(rng, 30, 150, 0.2), whole(rng, 150, 150, 0.2)
    together = rank_history(given, weights, 150, None, None, 1)
    for row in range(30):
        alone = rank_history(given[row], weights, 150)
        assert_same((together[0][row : row + 1], together[1][row : row + 1]), alone)


def test_scores_are_the_product_and_bitwise_alike_wherever_they_come_from(rng):
    given = sp.random(40, 300, 0.1, "csr", np.float32, rng)
    weights = sp.random(300, 300, 0.2, "csr", np.float32, rng)
    table = score_history(given, weights, 1)
    np.testing.assert_allclose(table, given.toarray() @ weights.toarray(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(score_history(given, weights, 3), table)
    rows, items = np.indices(table.shape).reshape(2, -1)
    np.testing.assert_array_equal(score_history_pairs(given, weights, rows, items, 2), table.ravel())
    codes, scores = rank_history(given, weights, 9)
    np.testing.assert_array_equal(scores, np.take_along_axis(table, codes, 1))


def test_a_pair_without_an_item_scores_0(rng):
    given, weights = whole(rng, 4, 30, 0.5), whole(rng, 30, 30, 1.0)
    assert score_history_pairs(given, weights, np.arange(4), np.full(4, -1)).tolist() == [0] * 4


def test_wide_integers_and_doubles_are_read_too(rng):
    given, weights = whole(rng, 9, 60, 0.2), whole(rng, 60, 60, 0.2)
    expected = oracle(given, weights, 5)
    for matrix in (given, weights):
        matrix.data, matrix.indptr = matrix.data.astype(np.float64), matrix.indptr.astype(np.int64)
        matrix.indices = matrix.indices.astype(np.int64)
    assert_same(rank_history(given, weights, 5), expected)


def test_matrices_that_do_not_fit_are_refused(rng):
    with pytest.raises(DataError, match=r"histories of 8 items need as many rows of weights, got \(9, 9\)"):
        rank_history(whole(rng, 2, 8, 0.5), whole(rng, 9, 9, 0.5), 3)
    with pytest.raises(ParameterError, match="k must be at least 0, got -1"):
        rank_history(whole(rng, 2, 8, 0.5), whole(rng, 8, 8, 0.5), -1)


def test_no_score_matrix_is_made():
    n_items, n_rows = 50_000, 2_000
    weights = sp.identity(n_items, np.float32, "csr")
    given = weights[np.arange(n_rows) % n_items]
    rank_history(given[:1], weights, 5)
    tracemalloc.start()
    codes, _ = rank_history(given, weights, 5, None, None, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(codes[:, 0], np.arange(n_rows))
    assert peak < n_items * n_rows  # a quarter of the scores' bytes
