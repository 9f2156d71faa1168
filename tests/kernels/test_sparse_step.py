"""Fused steps on the rows of sparse gradients against plain loops, in float64 so that only mistakes can differ."""

import numpy as np
import pytest

from recsys.errors import DataError
from recsys.kernels import sparse_step
from recsys.kernels.sparse_step import SMALL, group_rows, step_rows

RULES = {
    "SGD": ((), (0.1,)),
    "ADAM": ((5, 5), (0.1, 0.9, 0.99, 1e-6, 3.0)),
    "ADAGRAD": ((5,), (0.1, 1e-6)),
    "ROWWISE_ADAGRAD": ((1,), (0.1, 1e-6)),
    "FTRL": ((5, 5), (0.1, 0.7, 0.6, 0.3)),
    "MOMENTUM_ADAGRAD": ((5, 5), (0.1, 1e-2, 0.6)),
}
"""Widths of each rule's states, for vectors of 5 numbers, and constants."""


def sgd_twin(w, g, rate):
    return w - rate * g, []


def adam_twin(w, g, mean, square, rate, beta1, beta2, eps, root_scale):
    mean, square = beta1 * mean + (1 - beta1) * g, beta2 * square + (1 - beta2) * g**2
    return w - rate * mean / (root_scale * np.sqrt(square) + eps), [mean, square]


def adagrad_twin(w, g, total, rate, eps):
    total = total + g**2
    return w - rate * g / (np.sqrt(total) + eps), [total]


def rowwise_adagrad_twin(w, g, total, rate, eps):
    total = total + np.mean(g**2)
    return w - rate * g / (np.sqrt(total) + eps), [total]


def ftrl_twin(w, g, z, n, rate, beta, l1, l2):
    z, n = z + g - (np.sqrt(n + g**2) - np.sqrt(n)) / rate * w, n + g**2
    pull = np.sign(z) * np.maximum(np.abs(z) - l1, 0)
    return -pull / ((beta + np.sqrt(n)) / rate + l2), [z, n]


def momentum_adagrad_twin(w, g, total, velocity, rate, eps, momentum):
    total = total + g**2
    velocity = momentum * velocity - rate * g / np.sqrt(total + eps)
    return w + velocity, [total, velocity]


TWINS = dict(
    zip(
        RULES,
        (sgd_twin, adam_twin, adagrad_twin, rowwise_adagrad_twin, ftrl_twin, momentum_adagrad_twin),
        strict=True,
    )
)


class Problem:
    """A table of 40 rows and a gradient that names 15 of them, some very often, in no order."""

    def __init__(self, rule, dtype=np.float64, n=200):
        rng = np.random.default_rng(0)
        widths, self.constants = RULES[rule]
        self.rule, self.rows = rule, rng.choice(rng.choice(40, 15, replace=False), n)
        self.rows[rng.random(n) < 0.4] = self.rows[0]
        self.values = rng.normal(size=(n, 5)).astype(dtype)
        self.weight = rng.normal(size=(40, 5)).astype(dtype)
        self.state = [rng.random((40, width)).astype(dtype) for width in widths]

    def step(self, decay=0.0, n_jobs=1):
        number = getattr(sparse_step, self.rule)
        step_rows(number, self.rows, self.values, self.weight, self.state, self.constants, decay, n_jobs)
        return [self.weight, *self.state]

    def twin(self, decay=0.0):
        weight, state = self.weight.copy(), [part.copy() for part in self.state]
        for row in set(self.rows.tolist()):
            g = decay * self.weight[row] + self.values[self.rows == row].sum(0)
            before = [part[row] for part in self.state]
            weight[row], after = TWINS[self.rule](self.weight[row], g, *before, *self.constants)
            for part, value in zip(state, after, strict=True):
                part[row] = value
        return [weight, *state]


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("rule", RULES)
def test_a_step_is_that_of_the_formula_row_by_row(rule, decay):
    wanted = Problem(rule).twin(decay)
    for got, want in zip(Problem(rule).step(decay), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rule", RULES)
def test_rows_that_are_not_named_are_bitwise_untouched(rule):
    problem, before = Problem(rule), Problem(rule)
    idle = np.setdiff1d(np.arange(40), problem.rows)
    for new, old in zip(problem.step(0.3), [before.weight, *before.state], strict=True):
        np.testing.assert_array_equal(new[idle], old[idle])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", RULES)
def test_the_result_is_bitwise_the_same_on_any_number_of_threads(rule, dtype):
    n = SMALL // 5 + 1
    alone = Problem(rule, dtype, n).step(0.3, 1)
    for n_jobs in (2, 3, 7):
        for got, want in zip(Problem(rule, dtype, n).step(0.3, n_jobs), alone, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dim", [1, 3, 16, 33])
def test_vectors_of_any_length_are_stepped(dim):
    rng = np.random.default_rng(dim)
    rows, values, weight = rng.integers(0, 9, 50), rng.normal(size=(50, dim)), rng.normal(size=(9, dim))
    wanted = weight.copy()
    np.subtract.at(wanted, rows, 0.5 * values)
    step_rows(sparse_step.SGD, rows, values, weight, [], (0.5,))
    np.testing.assert_allclose(weight, wanted, rtol=1e-12, atol=1e-13)


def test_a_gradient_of_no_rows_moves_nothing():
    problem = Problem("ADAM")
    before = problem.weight.copy()
    problem.rows, problem.values = problem.rows[:0], problem.values[:0]
    problem.step(0.5)
    np.testing.assert_array_equal(problem.weight, before)


# -- sorting -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [1, 2, 2048, 2049, 5_000_000, 2**40])
def test_rows_are_grouped_in_ascending_order_and_keep_theirs_within_a_group(n_rows):
    rng = np.random.default_rng(1)
    rows = np.concatenate([rng.integers(0, n_rows, 300), rng.integers(0, min(n_rows, 5), 300), [n_rows - 1, 0]])
    distinct, starts, places = group_rows(rows, n_rows)
    wanted, counts = np.unique(rows, return_counts=True)
    np.testing.assert_array_equal(distinct, wanted)
    np.testing.assert_array_equal(np.diff(starts), counts)
    np.testing.assert_array_equal(places, np.argsort(rows, kind="stable"))


@pytest.mark.parametrize("row", [-1, 9])
def test_a_row_outside_the_table_is_refused_before_anything_moves(row):
    weight = np.ones((9, 2))
    with pytest.raises(DataError, match="outside its parameter"):
        step_rows(sparse_step.SGD, np.array([3, row]), np.ones((2, 2)), weight, [], (0.5,))
    assert (weight == 1).all()
