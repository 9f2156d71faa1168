"""Coordinate steps on blocks of entities against plain loops over the rows, one feature at a time."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.kernels.fm import N_SUMS, add_products, add_squares, spread_steps, step_features, sum_rows

ALPHA = 0.7


class Problem:
    """60 rows of 7 users and 5 items; users with several features, items with one each; some users have no row."""

    def __init__(self, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.users, self.items = (rng.integers(n, size=60).astype(np.int32) for n in (6, 5))
        self.x = rng.normal(size=(7, 4)).astype(np.float32) * (rng.random((7, 4)) < 0.7)
        self.group = np.array([0, 0, 1, 1])
        self.means, self.precisions = np.array([0.3, -0.2]), np.array([2.0, 0.5])
        self.weights, self.v, self.noise = rng.uniform(0.5, 2, 60), rng.normal(size=4), rng.normal(size=4)
        self.others = rng.normal(size=5)[self.items]  # what the items' features bring
        self.error = rng.normal(size=60)

    @property
    def block(self) -> tuple[Any, Any, Any]:
        table = sp.csc_matrix(self.x)
        return table.indptr.astype(np.int64), table.indices.astype(np.int32), table.data

    def steps(self, own: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """By the kernels: v, errors and totals after a step on every feature."""
        v, error, q = self.v.copy(), self.error.copy(), np.zeros(7)
        total = np.ones(60)
        if own:
            add_products(*self.block, v, q)
            total = q[self.users] + self.others
        old, sums, shift = q.copy(), np.empty((7, N_SUMS)), np.zeros(7)
        sum_rows(self.users, self.weights, total, error, q, sums)
        step_features(*self.block, self.group, self.means, self.precisions, ALPHA, self.noise, own, v, q, shift, sums)
        spread_steps(self.users, old, q, shift, total, error)
        return v, error, total

    def twin(self, own: float) -> tuple[np.ndarray, np.ndarray]:
        """By the definition: h of each row, and the mean of v_j given all others."""
        v, error, x = self.v.copy(), self.error.copy(), self.x.astype(np.float64)[self.users]
        for j in range(4):
            h = x[:, j] * (x @ v - x[:, j] * v[j] + self.others if own else 1.0)
            precision = ALPHA * (self.weights * h * h).sum() + self.precisions[self.group[j]]
            mean = ALPHA * (self.weights * h * (error + v[j] * h)).sum()
            mean = (mean + self.precisions[self.group[j]] * self.means[self.group[j]]) / precision
            new = mean + self.noise[j] / np.sqrt(precision)
            error -= (new - v[j]) * h
            v[j] = new
        return v, error


@pytest.mark.parametrize("own", [1.0, 0.0], ids=["factors", "weights"])
@pytest.mark.parametrize("seed", range(3))
def test_a_step_on_a_block_is_a_step_on_its_rows(own: float, seed: int) -> None:
    problem = Problem(seed)
    v, error, total = problem.steps(own)
    wanted_v, wanted_error = problem.twin(own)
    np.testing.assert_allclose(v, wanted_v, atol=1e-12)
    np.testing.assert_allclose(error, wanted_error, atol=1e-12)
    if own:
        np.testing.assert_allclose(total, (problem.x @ v)[problem.users] + problem.others, atol=1e-12)


def test_products_and_squares_are_those_of_the_table() -> None:
    problem = Problem()
    q, squares = np.zeros(7), np.zeros(7)
    add_products(*problem.block, problem.v, q)
    add_squares(*problem.block, problem.v, squares)
    np.testing.assert_allclose(q, problem.x @ problem.v, atol=1e-12)
    np.testing.assert_allclose(squares, problem.x**2 @ problem.v**2, atol=1e-12)


def test_sums_of_an_entity_are_over_its_rows() -> None:
    problem = Problem()
    q, sums = np.arange(7.0), np.full((7, N_SUMS), np.nan)
    total = q[problem.users] + problem.others
    sum_rows(problem.users, problem.weights, total, problem.error, q, sums)
    for k in range(7):
        rows = problem.users == k
        s, z, e = problem.weights[rows], problem.others[rows], problem.error[rows]
        np.testing.assert_allclose(sums[k], [s.sum(), s @ z, s @ z**2, s @ e, s @ (e * z)], atol=1e-12)
    assert not sums[6].any()


def test_a_feature_of_no_row_goes_to_its_priors_mean_and_without_a_prior_too() -> None:
    problem = Problem()
    problem.x[:6, 2], problem.x[6, 2] = 0, 1.0
    problem.noise[2] = 0
    for precisions in ([2.0, 0.5], [0.0, 0.0]):
        problem.precisions = np.array(precisions)
        v, error, _ = problem.steps(1.0)
        assert v[2] == pytest.approx(problem.means[1])
        assert np.isfinite(error).all()
