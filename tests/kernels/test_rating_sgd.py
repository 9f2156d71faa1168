"""Stochastic gradient steps on ratings against plain loops."""

import numpy as np
import pytest

from recsys.kernels.rating_sgd import svd_epoch


def svd_twin(order, users, items, ratings, mean, user_bias, item_bias, p, q, rate, penalty):
    total = 0.0
    for n in order:
        u, i = users[n], items[n]
        error = ratings[n] - (mean + user_bias[u] + item_bias[i] + p[u] @ q[i])
        total += error**2
        user_bias[u] += rate * (error - penalty * user_bias[u])
        item_bias[i] += rate * (error - penalty * item_bias[i])
        p[u], q[i] = p[u] + rate * (error * q[i] - penalty * p[u]), q[i] + rate * (error * p[u] - penalty * q[i])
    return total


def ratings_problem(dim, n=300, seed=0):
    """Arguments of an epoch over n ratings of 20 users and 15 items, some pairs rated twice."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(n), rng.integers(0, 20, n), rng.integers(0, 15, n)
    biases = rng.normal(size=20) / 10, rng.normal(size=15) / 10
    return (*codes, rng.normal(3, 1, n), 3.0, *biases, rng.normal(size=(20, dim)), rng.normal(size=(15, dim)))


def copied(arguments):
    return [part.copy() if isinstance(part, np.ndarray) else part for part in arguments]


@pytest.mark.parametrize("dim", [1, 7, 16, 33])
@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_an_epoch_of_ratings_is_a_loop_of_single_steps(dim, penalty):
    fast = ratings_problem(dim)
    plain = copied(fast)
    total, wanted = svd_epoch(*fast, 0.01, penalty), svd_twin(*plain, 0.01, penalty)
    assert total == pytest.approx(wanted, rel=1e-11)
    for got, part in zip(fast[5:], plain[5:], strict=True):
        np.testing.assert_allclose(got, part, rtol=1e-10, atol=1e-12)


def test_only_users_and_items_in_the_order_move():
    arguments = ratings_problem(8)
    order, users, items = arguments[:3]
    before = copied(arguments)
    svd_epoch(order[:4], *arguments[1:], 0.1, 0.1)
    for part, old, touched in zip(arguments[5:], before[5:], [users, items] * 2, strict=True):
        rows = np.isin(np.arange(len(part)), touched[order[:4]])
        np.testing.assert_array_equal(part[~rows], old[~rows])
        assert (part[rows] != old[rows]).all()


def test_no_ratings_are_no_step():
    arguments = ratings_problem(3)
    before = copied(arguments)
    assert svd_epoch(arguments[0][:0], *arguments[1:], 0.1, 0.1) == 0
    np.testing.assert_array_equal(arguments[7], before[7])


def test_ratings_made_of_biases_and_factors_are_fitted():
    rng = np.random.default_rng(2)
    users, items = (codes.ravel() for codes in np.indices((30, 20)))
    planted = rng.normal(size=(30, 2)), rng.normal(size=(20, 2))
    ratings = 3 + np.linspace(-1, 1, 30)[users] + np.einsum("nd,nd->n", planted[0][users], planted[1][items])
    state = np.zeros(30), np.zeros(20), rng.normal(0, 0.1, (30, 2)), rng.normal(0, 0.1, (20, 2))
    errors = [svd_epoch(rng.permutation(600), users, items, ratings, 3.0, *state, 0.05, 0.0) / 600 for _ in range(120)]
    assert errors[0] > 1
    assert errors[-1] < 1e-4
