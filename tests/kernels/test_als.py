"""Normal equations of rows against a dense solver."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.kernels.als import ENTRIES, TILE_COLUMNS, TILE_ROWS, solve_rows


def twin(matrix, extra, target, gram, penalty, factors):
    """The definition, a row at a time."""
    out = np.zeros((matrix.shape[0], factors.shape[1]))
    for row in range(len(out)):
        a, b = gram + penalty[row] * np.eye(len(gram)), np.zeros(len(gram))
        for at in range(matrix.indptr[row], matrix.indptr[row + 1]):
            v = factors[matrix.indices[at]]
            a = a + extra[at] * np.outer(v, v)
            b = b + target[at] * v
        out[row] = np.linalg.solve(a, b)
    return out


def problem(lengths, dim, n_columns=200, seed=0):
    """Random equations, one row for each length."""
    rng = np.random.default_rng(seed)
    columns = [rng.choice(n_columns, length, replace=False) for length in lengths]
    indices = np.concatenate([*columns, np.empty(0, np.int64)]).astype(np.int64)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    matrix = sp.csr_matrix((np.ones(len(indices)), indices, indptr), shape=(len(lengths), n_columns))
    factors = rng.normal(size=(n_columns, dim))
    extra, target = rng.uniform(0, 4, len(indices)), rng.uniform(1, 5, len(indices))
    return matrix, extra, target, factors.T @ factors, rng.uniform(0.01, 2, len(lengths)), factors


@pytest.mark.parametrize("dim", [1, 2, 5, 6, 7, 8, 12, 17, 24, 48, 65])
def test_rows_solve_their_normal_equations(dim):
    equations = problem([0, 1, 2, 5, 30, 150, 3], dim)
    np.testing.assert_allclose(solve_rows(*equations), twin(*equations), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("length", [1, ENTRIES - 1, ENTRIES, ENTRIES + 1, 2 * ENTRIES, 3 * ENTRIES + 5])
def test_a_row_may_be_longer_than_what_is_gathered_at_a_time(length):
    equations = problem([length, 1], 10, n_columns=300)
    np.testing.assert_allclose(solve_rows(*equations), twin(*equations), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dim", [TILE_ROWS - 1, 2 * TILE_ROWS, 2 * TILE_ROWS + 1, TILE_ROWS * TILE_COLUMNS])
def test_what_pads_a_tile_changes_nothing(dim):
    narrow = problem([4, 9, 0], dim)
    factors = np.hstack([narrow[5], np.zeros((200, 3))])
    wide = solve_rows(*narrow[:3], factors.T @ factors, narrow[4], factors)
    np.testing.assert_allclose(wide[:, :dim], solve_rows(*narrow), rtol=1e-10, atol=1e-13)
    assert (wide[:, dim:] == 0).all()


def test_a_known_vector_is_recovered_from_its_products():
    rng = np.random.default_rng(3)
    factors, wanted = rng.normal(size=(60, 9)), rng.normal(size=9)
    matrix = sp.csr_matrix(np.ones((1, 60)))
    nothing = np.zeros((9, 9))
    found = solve_rows(matrix, np.ones(60), factors @ wanted, nothing, np.zeros(1), factors)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-10)


def test_a_row_without_entries_is_zero():
    equations = problem([0, 3, 0], 8)
    found = solve_rows(*equations)
    assert (found[[0, 2]] == 0).all()
    assert (found[1] != 0).all()


def test_the_smallest_problems_have_a_solution():
    matrix = sp.csr_matrix(np.array([[1.0]]))
    one = np.ones(1)
    # (1 + 2 + 3) x = 6
    found = solve_rows(matrix, 2 * one, 6 * one, np.ones((1, 1)), 3 * one, np.ones((1, 1)))
    np.testing.assert_allclose(found, [[1.0]])
    assert solve_rows(sp.csr_matrix((0, 1)), one[:0], one[:0], np.ones((1, 1)), one[:0], np.ones((1, 1))).shape == (
        0,
        1,
    )


def test_dimensions_that_the_equations_leave_open_are_zero():
    factors = np.random.default_rng(5).normal(size=(3, 8))
    matrix = sp.csr_matrix(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    gram, ones = factors.T @ factors, np.ones(3)
    found = solve_rows(matrix, ones, 2 * ones, gram, np.zeros(2), factors)
    assert np.isfinite(found).all()
    assert (found[:, 3:] == 0).all()
    for row, seen in enumerate(([0, 1], [2])):
        a = gram + factors[seen].T @ factors[seen]
        np.testing.assert_allclose(a @ found[row], 2 * factors[seen].sum(0), rtol=1e-8)


def test_a_vector_that_is_no_number_shows_in_the_rows_that_read_it():
    equations = problem([4, 4, 4], 7)
    matrix, factors, target = equations[0], equations[5].copy(), equations[2]
    factors[matrix.indices[5]] = np.nan
    found = solve_rows(matrix, equations[1], target, *equations[3:5], factors)
    reads = [matrix.indices[5] in matrix.indices[matrix.indptr[i] : matrix.indptr[i + 1]] for i in range(3)]
    assert reads[1]
    np.testing.assert_array_equal(np.isnan(found).any(1), reads)


def test_the_solution_does_not_depend_on_threads_or_on_other_rows():
    equations = problem(np.random.default_rng(1).integers(0, 40, 300), 13)
    matrix, extra, target, gram, penalty, factors = equations
    expected = solve_rows(*equations, n_jobs=1)
    for n_jobs in (2, 3, -1):
        np.testing.assert_array_equal(solve_rows(*equations, n_jobs=n_jobs), expected)
    low, high = matrix.indptr[100], matrix.indptr[101]
    alone = solve_rows(matrix[100:101], extra[low:high], target[low:high], gram, penalty[100:101], factors)
    np.testing.assert_array_equal(alone[0], expected[100])


def test_arguments_of_any_precision_and_layout_are_read_and_left_alone():
    matrix, extra, target, gram, penalty, factors = problem([5, 0, 9], 6)
    parts = [part.astype(np.float32) for part in (extra, target, gram, penalty, factors)]
    expected = solve_rows(matrix, *(part.astype(np.float64) for part in parts))
    odd = [*parts[:2], np.asfortranarray(parts[2]), parts[3], np.asfortranarray(parts[4])]
    before = [part.copy() for part in odd]
    np.testing.assert_array_equal(solve_rows(matrix, *odd), expected)
    for part, kept in zip(odd, before, strict=True):
        np.testing.assert_array_equal(part, kept)


def test_a_linear_term_adds_to_the_right_side_of_rows_with_entries():
    matrix, extra, target, gram, penalty, factors = problem([0, 2, 9], 7)
    linear = np.random.default_rng(4).normal(size=(3, 7))
    found = solve_rows(matrix, extra, target, gram, penalty, factors, linear=linear)
    plain = solve_rows(matrix, extra, target, gram, penalty, factors)
    alone = solve_rows(matrix, extra, 0 * target, gram, penalty, factors, linear=linear)
    np.testing.assert_allclose(found, plain + alone, rtol=1e-9, atol=1e-12)
    assert (found[0] == 0).all()
    for row in (1, 2):
        v = factors[matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]]
        a = gram + penalty[row] * np.eye(7) + (v.T * extra[matrix.indptr[row] : matrix.indptr[row + 1]]) @ v
        np.testing.assert_allclose(a @ alone[row], linear[row], rtol=1e-9)
