"""Stochastic gradient steps on ratings against plain loops, in float64 so that only mistakes can differ."""

import numpy as np
import pytest

from recsys.kernels.rating_sgd import bias_epoch, pmf_epoch, svd_epoch, svdpp_epoch
from recsys.kernels.rows import new_table
from tests.kernels.splitmix import drawn
from tests.kernels.tables import as_table

RATE, SEED = 0.01, np.uint64(5)


class Problem:
    """400 ratings of 20 users and 15 items, some pairs rated twice, some users and items never, and a random state."""

    def __init__(self, dim, seed=1):
        rng = np.random.default_rng(seed)
        users = np.sort(rng.integers(1, 19, 400))
        self.indptr = np.searchsorted(users, np.arange(21))
        self.items = rng.integers(1, 15, 400).astype(np.int32)
        self.ratings = rng.normal(3, 1, 400)
        self.order, self.mean = rng.permutation(20), 3.0
        self.user_bias, self.item_bias = rng.normal(size=20) / 10, rng.normal(size=15) / 10
        self.p, self.q, self.y = (as_table(rng.normal(size=(n, dim))) for n in (20, 15, 15))

    def given(self):
        return self.order, SEED, self.indptr, self.items, self.ratings

    def biased(self):
        return self.mean, self.user_bias, self.item_bias, self.p, self.q

    def own(self):
        rows = [np.unique(self.items[a:b]) for a, b in zip(self.indptr, self.indptr[1:], strict=False)]
        lengths = np.array([len(row) for row in rows], np.int32)
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), np.concatenate(rows)

    def vectors(self):
        """Views of the tables' vectors."""
        return [table[:, 0] for table in (self.p, self.q, self.y)]

    def state(self):
        return self.user_bias, self.item_bias, self.p, self.q, self.y


def visits(problem):
    """(u, i, rating) in the order of the steps; shuffles the problem's ratings as the kernels say they do."""
    order, seed, indptr, items, ratings = problem.given()
    for u in order:
        for n in range(indptr[u], indptr[u + 1]):
            at = n + drawn(int(seed), n, int(indptr[u + 1] - n))
            for part in (items, ratings):
                part[n], part[at] = part[at], part[n]
            yield u, items[n], ratings[n]


def svd_twin(problem, rate, penalty):
    total = 0.0
    mean, user_bias, item_bias, *_ = problem.biased()
    p, q, _ = problem.vectors()
    for u, i, rating in visits(problem):
        error = rating - (mean + user_bias[u] + item_bias[i] + p[u] @ q[i])
        total += error**2
        user_bias[u] += rate * (error - penalty * user_bias[u])
        item_bias[i] += rate * (error - penalty * item_bias[i])
        p[u], q[i] = p[u] + rate * (error * q[i] - penalty * p[u]), q[i] + rate * (error * p[u] - penalty * q[i])
    return total


def svdpp_twin(problem, rate, penalty):
    """Every y_j of the user is written at every step."""
    total = 0.0
    mean, user_bias, item_bias, *_ = problem.biased()
    p, q, y = problem.vectors()
    indptr, own = problem.own()
    for u, i, rating in visits(problem):
        mine = own[indptr[u] : indptr[u + 1]]
        scale = len(mine) ** -0.5
        v = p[u] + scale * y[mine].sum(0)
        error = rating - (mean + user_bias[u] + item_bias[i] + v @ q[i])
        total += error**2
        user_bias[u] += rate * (error - penalty * user_bias[u])
        item_bias[i] += rate * (error - penalty * item_bias[i])
        y[mine] += rate * (error * scale * q[i] - penalty * y[mine])
        p[u], q[i] = p[u] + rate * (error * q[i] - penalty * p[u]), q[i] + rate * (error * v - penalty * q[i])
    return total


def pmf_twin(problem, rate, penalties, low, span, sigmoid):
    total = 0.0
    p, q, _ = problem.vectors()
    for u, i, rating in visits(problem):
        guess, slope = p[u] @ q[i], 1.0
        if sigmoid:
            share = 1 / (1 + np.exp(-guess))
            guess, slope = low + span * share, span * share * (1 - share)
        error = rating - guess
        total += error**2
        p[u], q[i] = (
            p[u] + rate * (error * slope * q[i] - penalties[0][u] * p[u]),
            q[i] + rate * (error * slope * p[u] - penalties[1][i] * q[i]),
        )
    return total


def assert_same(fast, plain):
    for got, wanted in zip(fast.state(), plain.state(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-11)
    np.testing.assert_array_equal(fast.items, plain.items)
    np.testing.assert_array_equal(fast.ratings, plain.ratings)


@pytest.mark.parametrize("dim", [1, 7, 16, 33])
@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_an_epoch_of_svd_is_a_loop_of_single_steps(dim, penalty):
    fast, plain = Problem(dim), Problem(dim)
    total = svd_epoch(*fast.given(), *fast.biased(), RATE, penalty)
    assert total == pytest.approx(svd_twin(plain, RATE, penalty), rel=1e-11)
    assert_same(fast, plain)


@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_an_epoch_of_biases_is_one_of_svd_without_vectors_in_the_given_order(penalty):
    one, other = Problem(1), Problem(1)
    for problem in (one, other):
        problem.p[:] = problem.q[:] = 0
    bias_epoch(*one.given()[2:], *one.biased()[:3], RATE, penalty)
    for u in range(20):  # a rating a call: nothing to shuffle
        for n in range(other.indptr[u], other.indptr[u + 1]):
            span = np.zeros(21, np.int64)
            span[u], span[u + 1] = n, n + 1
            svd_epoch(np.array([u]), SEED, span, *other.given()[3:], *other.biased(), RATE, penalty)
    np.testing.assert_array_equal(one.items, Problem(1).items)
    assert_same(one, other)


@pytest.mark.parametrize("dim", [1, 7, 16, 33])
@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_an_epoch_of_svdpp_is_a_loop_that_writes_every_y_at_every_step(dim, penalty):
    fast, plain = Problem(dim), Problem(dim)
    total = svdpp_epoch(*fast.given(), *fast.biased(), RATE, penalty, *fast.own(), fast.y)
    assert total == pytest.approx(svdpp_twin(plain, RATE, penalty), rel=1e-11)
    assert_same(fast, plain)
    # The problem tells the two apart: the sum over N(u) is no small part of the outcome.
    without = Problem(dim)
    assert svd_twin(without, RATE, penalty) != pytest.approx(total, rel=0.01)


@pytest.mark.parametrize("dim", [1, 7, 16, 33])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_an_epoch_of_pmf_is_a_loop_of_single_steps_with_each_rows_own_penalty(dim, sigmoid):
    fast, plain = Problem(dim), Problem(dim)
    penalties = np.linspace(0, 0.5, 20), np.linspace(0.7, 0, 15)
    total = pmf_epoch(*fast.given(), fast.p, fast.q, RATE, *penalties, 1.0, 4.0, sigmoid)
    assert total == pytest.approx(pmf_twin(plain, RATE, penalties, 1.0, 4.0, sigmoid), rel=1e-11)
    assert_same(fast, plain)


def test_only_users_in_the_order_and_their_items_move():
    problem, before = Problem(8), Problem(8)
    some = problem.order[:2]
    svdpp_epoch(some, *problem.given()[1:], *problem.biased(), 0.1, 0.1, *problem.own(), problem.y)
    of_some = np.concatenate([before.items[before.indptr[u] : before.indptr[u + 1]] for u in some])
    users, items = np.isin(np.arange(20), some), np.isin(np.arange(15), of_some)
    for part, old, touched in zip(problem.state(), before.state(), [users, items, users, items, items], strict=True):
        np.testing.assert_array_equal(part[~touched], old[~touched])
        # What pads a vector stays 0.
        assert (part[touched] != old[touched]).all() if part.ndim == 1 else (part != old)[touched, 0, :8].all()


def test_ratings_stay_with_their_users_and_items():
    problem, before = Problem(3), Problem(3)
    svd_epoch(*problem.given(), *problem.biased(), RATE, 0.1)
    assert (problem.items != before.items).mean() > 0.5
    for a, b in zip(problem.indptr, problem.indptr[1:], strict=False):
        pairs = [sorted(zip(one.items[a:b], one.ratings[a:b], strict=True)) for one in (problem, before)]
        assert pairs[0] == pairs[1]


def test_even_draws_put_every_rating_at_every_place_equally_often():
    n, rounds = 5, 4000
    rng = np.random.default_rng(0)
    placed = np.zeros((n, n))
    for _ in range(rounds):
        items, ratings = np.arange(n, dtype=np.int32), np.zeros(n)
        state = np.zeros(1), np.zeros(n), new_table(1, 1, 1, np.float64), new_table(n, 1, 1, np.float64)
        svd_epoch(
            np.array([0]), rng.integers(2**63, dtype=np.uint64), np.array([0, n]), items, ratings, 0.0, *state, 0.1, 0.0
        )
        placed[np.arange(n), items] += 1
    np.testing.assert_allclose(placed / rounds, 1 / n, atol=5 * np.sqrt(0.16 / rounds))


def test_no_users_are_no_step():
    problem, before = Problem(3), Problem(3)
    assert svd_epoch(problem.order[:0], *problem.given()[1:], *problem.biased(), 0.1, 0.1) == 0
    assert_same(problem, before)


def test_ratings_made_of_biases_and_factors_are_fitted():
    rng = np.random.default_rng(2)
    users, items = (codes.ravel() for codes in np.indices((30, 20)))
    planted = rng.normal(size=(30, 2)), rng.normal(size=(20, 2))
    ratings = 3 + np.linspace(-1, 1, 30)[users] + np.einsum("nd,nd->n", planted[0][users], planted[1][items])
    state = np.zeros(30), np.zeros(20), *(as_table(rng.normal(0, 0.1, (n, 2))) for n in (30, 20))
    given = np.arange(0, 601, 20), items.astype(np.int32), ratings
    errors = [
        svd_epoch(rng.permutation(30), np.uint64(n), *given, 3.0, *state, 0.05, 0.0) / 600 for n in range(120)
    ]  # fmt: skip
    assert errors[0] > 1
    assert errors[-1] < 1e-4
