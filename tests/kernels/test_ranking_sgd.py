"""Stochastic gradient steps on pairs of items against plain loops."""

import numpy as np
import pytest

from recsys.kernels.ranking_sgd import bpr_epoch, is_positive


def copied(arguments):
    return [part.copy() if isinstance(part, np.ndarray) else part for part in arguments]


def test_positives_are_the_entries_of_a_users_row():
    rows = [[0, 3, 4, 9], [], [7], list(range(10))]
    indptr, indices = np.cumsum([0, *map(len, rows)]), np.concatenate(rows).astype(np.int64)
    for user, row in enumerate(rows):
        assert [item for item in range(-1, 12) if is_positive(indptr, indices, user, item)] == row


def bpr_twin(draws, negatives, users, rows, items, p, q, bias, rate, penalties, use_bias, squares):
    """A loop of single steps in double precision; returns the loss and the steps that were made."""
    total, steps = 0.0, 0
    for draw, tried in zip(draws, negatives, strict=True):
        u, i = users[draw], items[draw]
        j = next((j for j in tried if j not in rows[u]), None)
        if j is None:
            continue
        x = bias[i] - bias[j] + p[u] @ (q[i] - q[j])
        z = 1 / (1 + np.exp(x))
        total, steps = total + np.log1p(np.exp(-x)), steps + 1
        moves = [
            (p, u, z * (q[i] - q[j]) - penalties[0] * p[u]),
            (q, i, z * p[u] - penalties[1] * q[i]),
            (q, j, -z * p[u] - penalties[1] * q[j]),
        ]
        if use_bias:
            moves += [(bias, i, z - penalties[1] * bias[i]), (bias, j, -z - penalties[1] * bias[j])]
        for part, at, gradient in moves:
            if squares is not None:
                square = squares[id(part)]
                square[at] += gradient**2
                gradient = gradient / np.sqrt(square[at])
            part[at] += rate * gradient
    return total, steps


def pairs_problem(dim, dtype, n=400, seed=0):
    """Draws, negatives, users, indptr, indices, p, q, bias for 12 users and 25 items; user 0 has every item."""
    rng = np.random.default_rng(seed)
    seen = rng.random((12, 25)) < 0.4
    seen[0] = True
    users, items = np.nonzero(seen)
    indptr = np.concatenate([[0], np.cumsum(seen.sum(1))])
    state = [rng.normal(0, 0.5, shape).astype(dtype) for shape in ((12, dim), (25, dim), (25,))]
    return [rng.integers(len(users), size=n), rng.integers(25, size=(n, 4)), users, indptr, items, *state]


def run_both(problem, dtype, rate=0.05, penalties=(0.02, 0.03), use_bias=True, adagrad=False):
    """The kernel on the problem and the loop on a copy: (state, loss, steps) of each."""
    plain = [part.astype(np.float64) if part.dtype == dtype else part for part in copied(problem)]
    rows = np.split(problem[4], problem[3][1:-1])
    state, wanted = problem[5:], plain[5:]
    start = [np.full(part.shape if adagrad else (0,) * part.ndim, 0.1, dtype) for part in state]
    squares = {id(part): np.full(part.shape, 0.1) for part in wanted} if adagrad else None
    numbers = (dtype(rate), dtype(penalties[0]), dtype(penalties[1]))
    fast = bpr_epoch(*problem, *numbers, use_bias, *start)
    slow = bpr_twin(*plain[:3], [set(r) for r in rows], plain[4], *wanted, rate, penalties, use_bias, squares)
    pairs = list(zip(state, wanted, strict=True))
    return pairs + (list(zip(start, squares.values(), strict=True)) if adagrad else []), fast, slow


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-10), (np.float32, 2e-4)])
@pytest.mark.parametrize("dim", [1, 8, 19])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("adagrad", [True, False])
def test_an_epoch_of_pairs_is_a_loop_of_single_steps(dtype, tolerance, dim, use_bias, adagrad):
    pairs, fast, slow = run_both(pairs_problem(dim, dtype), dtype, use_bias=use_bias, adagrad=adagrad)
    assert fast[1] == slow[1]
    assert 0 < fast[1] < 400  # user 0 has no negative
    assert fast[0] == pytest.approx(slow[0], rel=tolerance)
    for got, wanted in pairs:
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("score, loss", [(1e4, 0.0), (-1e4, 2e4), (0.0, np.log(2))])
def test_the_loss_of_far_apart_scores_stays_finite(score, loss):
    one = np.ones((1, 1), np.float32)
    pair = np.zeros(1, np.int64), np.ones((1, 1), np.int64), np.zeros(1, np.int64), np.arange(2), np.zeros(1, np.int64)
    items = np.array([[score], [-score]], np.float32)
    nothing = np.float32(0)
    total, steps = bpr_epoch(*pair, one, items, np.zeros(2, np.float32), *[nothing] * 3, True, *empty(np.float32))
    assert steps == 1
    assert total == pytest.approx(loss)


def empty(dtype):
    return np.zeros((0, 0), dtype), np.zeros((0, 0), dtype), np.zeros(0, dtype)


def test_without_item_bias_the_biases_stand_still():
    problem = pairs_problem(5, np.float32)
    before = problem[7].copy()
    run_both(problem, np.float32, use_bias=False, adagrad=True)
    np.testing.assert_array_equal(problem[7], before)


def test_a_user_who_has_every_item_makes_no_step():
    problem = pairs_problem(5, np.float32)
    problem[0] = np.flatnonzero(problem[2] == 0)
    problem[1] = problem[1][: len(problem[0])]
    before = copied(problem)
    total, steps = bpr_epoch(*problem, np.float32(1), np.float32(1), np.float32(1), True, *empty(np.float32))
    assert (total, steps) == (0, 0)
    for part, old in zip(problem, before, strict=True):
        np.testing.assert_array_equal(part, old)


def test_the_same_draws_give_bitwise_the_same_factors():
    first, second = pairs_problem(24, np.float32), pairs_problem(24, np.float32)
    for problem in (first, second):
        bpr_epoch(*problem, np.float32(0.1), np.float32(0.01), np.float32(0.01), True, *empty(np.float32))
    for a, b in zip(first[5:], second[5:], strict=True):
        np.testing.assert_array_equal(a, b)
