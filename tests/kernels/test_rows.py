"""Rows of a table in registers against NumPy."""

import numpy as np
import pytest
from numba import njit

from recsys.kernels.rows import LANES, adagrad_row, add_row, dot_row, fetch_row, new_table, step_both, step_row


@njit
def dot(table, row, vector):
    return dot_row(table, row, vector)


@njit
def add(table, row, weight, out):
    add_row(table, row, weight, out)


@njit
def step(table, row, pull, direction, keep):
    step_row(table, row, pull, direction, keep)


@njit
def adagrad(table, row, pull, direction, rate, penalty):
    adagrad_row(table, row, pull, direction, rate, penalty)


@njit
def both(table, row, vector, pull, gain, keep, keep_vector, following):
    return step_both(table, row, vector, pull, gain, keep, keep_vector, following)


@njit
def fetch(table, row):
    fetch_row(table, row)


def table_of(n_slots, width=48, seed=0, dtype=np.float32):
    table = new_table(7, width, n_slots, dtype)
    table[:] = np.random.default_rng(seed).uniform(0.5, 2, table.shape)
    return table


@pytest.mark.parametrize("n_columns, width", [(1, 16), (16, 16), (17, 32), (64, 64), (65, 80)])
@pytest.mark.parametrize("n_slots", [1, 2])
def test_a_new_table_is_zeros_in_whole_registers_and_each_row_starts_a_line_of_the_cache(n_columns, width, n_slots):
    table = new_table(5, n_columns, n_slots)
    assert table.shape == (5, n_slots, width)
    assert table.dtype == np.float32
    assert not table.any()
    assert [row.ctypes.data % (4 * LANES) for row in table] == [0] * 5


@pytest.mark.parametrize("n_slots", [1, 2])
def test_dot_and_add_read_the_vector_of_their_row(n_slots):
    table, rng = table_of(n_slots), np.random.default_rng(1)
    vector, out = rng.normal(size=(2, 48)).astype(np.float32)
    wanted = out + np.float32(0.3) * table[4, 0]
    assert dot(table, 4, vector) == pytest.approx(float(table[4, 0].astype(float) @ vector), rel=1e-5)
    before = table.copy()
    add(table, 4, np.float32(0.3), out)
    np.testing.assert_allclose(out, wanted, atol=1e-6)  # numbers about 1, of float32
    np.testing.assert_array_equal(table, before)


def test_adding_a_short_row_leaves_the_end_of_a_longer_vector():
    out = np.ones(64, np.float32)
    add(table_of(1), 2, np.float32(1), out)
    assert (out[:48] > 1).all()
    assert (out[48:] == 1).all()


@pytest.mark.parametrize("row", [0, 3, 6])
def test_a_step_changes_its_row_alone(row):
    table, direction = table_of(1), np.random.default_rng(2).normal(size=48).astype(np.float32)
    before = table.copy()
    step(table, row, np.float32(0.2), direction, np.float32(0.9))
    np.testing.assert_allclose(table[row, 0], 0.9 * before[row, 0] + 0.2 * direction, rtol=1e-5)
    np.testing.assert_array_equal(np.delete(table, row, 0), np.delete(before, row, 0))


@pytest.mark.parametrize("following", [0, 3, 5])
@pytest.mark.parametrize("n_slots", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_step_of_both_goes_by_the_old_values_and_returns_the_product_with_the_row_to_follow(
    following, n_slots, dtype
):
    table, vector = table_of(n_slots, dtype=dtype), np.random.default_rng(3).normal(size=48).astype(dtype)
    row, other = table[3, 0].astype(float), vector.astype(float)
    before, precision = table.copy(), 1e3 * float(np.finfo(dtype).eps)
    product = both(table, 3, vector, 0.2, 0.3, 0.9, 0.8, following)
    np.testing.assert_allclose(table[3, 0], 0.9 * row + 0.2 * other, atol=precision)
    np.testing.assert_allclose(vector, 0.8 * other + 0.3 * row, atol=precision)
    # The row that follows may be the very one that has moved.
    assert product == pytest.approx(float(table[following, 0].astype(float) @ vector), abs=100 * precision)
    before[3, 0] = table[3, 0]
    np.testing.assert_array_equal(table, before)


@pytest.mark.parametrize("row", [0, 3, 6])
def test_an_adagrad_step_counts_its_own_gradient(row):
    table, direction = table_of(2), np.random.default_rng(3).normal(size=48).astype(np.float32)
    before = table.copy()
    adagrad(table, row, np.float32(0.2), direction, np.float32(0.5), np.float32(0.1))
    gradient = 0.2 * direction - 0.1 * before[row, 0]
    squares = before[row, 1] + gradient**2
    np.testing.assert_allclose(table[row, 1], squares, rtol=1e-5)
    np.testing.assert_allclose(table[row, 0], before[row, 0] + 0.5 * gradient / np.sqrt(squares), rtol=1e-5)
    np.testing.assert_array_equal(np.delete(table, row, 0), np.delete(before, row, 0))


def test_fetching_changes_nothing():
    table = table_of(2)
    before = table.copy()
    fetch(table, 6)
    np.testing.assert_array_equal(table, before)
