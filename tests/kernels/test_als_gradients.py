"""Conjugate gradients on the equations of rows, against the dense solver and a plain loop."""

import numpy as np
import pytest

from recsys.kernels.als import solve_rows
from recsys.kernels.als_gradients import GATHERED, descend_rows, score_entries
from tests.kernels.test_als import problem


def in_axes(lengths, dim, n_columns=200, seed=0):
    """Equations whose shared part is a diagonal, in float32."""
    matrix, extra, target, _, penalty, factors = problem(lengths, dim, n_columns, seed)
    base = np.random.default_rng(seed).uniform(1, 9, dim)
    parts = [part.astype(np.float32) for part in (extra, target, base, penalty, factors)]
    return matrix, *parts


def twin(matrix, extra, target, base, penalty, factors, start, steps):
    """Textbook preconditioned conjugate gradients in float64."""
    out = np.zeros(start.shape)
    for row in range(len(out)):
        low, high = matrix.indptr[row : row + 2]
        v = factors[matrix.indices[low:high]].astype(float)
        diagonal = base.astype(float) + penalty[row]
        a = np.diag(diagonal) + (v.T * extra[low:high]) @ v
        x = start[row].astype(float)
        r = v.T @ target[low:high] - a @ x
        z = r / diagonal
        p = z
        for _ in range(steps):
            if r @ z < 1e-12:
                break
            q = a @ p
            length = r @ z / (p @ q)
            x, after = x + length * p, r - length * q
            z_after = after / diagonal
            p, r, z = z_after + (after @ z_after) / (r @ z) * p, after, z_after
        out[row] = x if high > low else 0
    return out


@pytest.mark.parametrize("dim", [1, 5, 8, 33])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_steps_are_those_of_the_textbook(dim, steps):
    equations = in_axes([0, 1, 2, 3, 4, 5, 9, 60], dim)
    start = np.random.default_rng(1).normal(size=(8, dim)).astype(np.float32)
    found = start.copy()
    descend_rows(*equations, found, min(steps, dim))
    np.testing.assert_allclose(found, twin(*equations, start, min(steps, dim)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dim", [1, 7, 24])
def test_many_steps_solve_the_equations(dim):
    equations = in_axes([0, 1, 2, 5, 30, 150, 3], dim)
    matrix, extra, target, base, penalty, factors = equations
    found = np.zeros((7, dim), np.float32)
    descend_rows(*equations, found, 4 * dim, 1e-12)
    wanted = solve_rows(matrix, extra, target, np.diag(base), penalty, factors)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("length", [GATHERED - 1, GATHERED, GATHERED + 1])
def test_a_long_row_reads_its_vectors_where_they_are(length):
    equations = in_axes([length, 3], 6, n_columns=3000)
    found = np.zeros((2, 6), np.float32)
    descend_rows(*equations, found, 3)
    np.testing.assert_allclose(found, twin(*equations, np.zeros((2, 6)), 3), rtol=2e-3, atol=1e-4)


def test_no_step_makes_the_quadratic_form_larger():
    matrix, extra, target, base, penalty, factors = in_axes([4, 40], 12)
    start = np.random.default_rng(2).normal(size=(2, 12)).astype(np.float32)

    def form(x):
        total = ((base + penalty[:, None]) * x**2).sum(1)
        for row in range(2):
            low, high = matrix.indptr[row : row + 2]
            s = factors[matrix.indices[low:high]] @ x[row]
            total[row] += extra[low:high] @ s**2 - 2 * target[low:high] @ s
        return total

    values = [form(start)]
    for steps in range(1, 9):
        found = start.copy()
        descend_rows(matrix, extra, target, base, penalty, factors, found, steps)
        values.append(form(found))
    assert (np.diff(values, axis=0) <= 1e-5 * np.abs(values[0])).all()
    assert (values[-1] < values[0]).all()


def test_axes_without_curvature_are_left_out():
    matrix, extra, target, base, _, factors = in_axes([4, 6], 5)
    base[2], factors[:, 2] = 0, 0
    found = np.ones((2, 5), np.float32)
    descend_rows(matrix, extra, target, base, np.zeros(2), factors, found, 20, 1e-12)
    assert (found[:, 2] == 0).all()
    kept = [0, 1, 3, 4]
    wanted = solve_rows(matrix, extra, target, np.diag(base[kept]), np.zeros(2), factors[:, kept])
    np.testing.assert_allclose(found[:, kept], wanted, rtol=1e-3, atol=1e-5)


def test_a_row_depends_neither_on_threads_nor_on_other_rows():
    equations = in_axes(np.random.default_rng(1).integers(0, 40, 300), 13)
    matrix, extra, target, base, penalty, factors = equations
    expected = np.zeros((300, 13), np.float32)
    descend_rows(*equations, expected, 3, n_jobs=1)
    for n_jobs in (2, 3):
        found = np.zeros((300, 13), np.float32)
        descend_rows(*equations, found, 3, n_jobs=n_jobs)
        np.testing.assert_array_equal(found, expected)
    low, high = matrix.indptr[100], matrix.indptr[101]
    alone = np.zeros((1, 13), np.float32)
    descend_rows(matrix[100:101], extra[low:high], target[low:high], base, penalty[100:101], factors, alone, 3)
    np.testing.assert_array_equal(alone[0], expected[100])


def test_scores_of_entries_are_dot_products():
    matrix, *_, factors = in_axes([3, 0, 7], 9)
    left = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32)
    rows = np.repeat(np.arange(3), [3, 0, 7])
    wanted = (left[rows].astype(float) * factors[matrix.indices].astype(float)).sum(1)
    np.testing.assert_allclose(score_entries(matrix, left, factors), wanted, rtol=1e-12)
