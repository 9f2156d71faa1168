"""Stochastic gradient steps on ratings, a user at a time, so that the user's vector stays in the nearest cache.

Ratings lie by user, those of user u from indptr[u] to indptr[u + 1]; a pass takes the users in the order given and
shuffles each one's ratings in place by `draws` (N,), numbers in [0, 1). On one thread that is bitwise repeatable; over
parts of the order at once, threads change items without locks and now and then lose a step. All vectors are of one
type, the model's float32.
"""

import numpy as np
from numba import njit

from recsys.kernels.parallel import FAST


@njit(cache=True, nogil=True)
def _draw(n, stop, draws, items, ratings):  # pragma: no cover
    """Swap a rating of n, ..., stop - 1 into place n; returns its item and value."""
    at = n + int(draws[n] * (stop - n))
    i, rating = items[at], ratings[at]
    items[at], ratings[at] = items[n], ratings[n]
    items[n], ratings[n] = i, rating
    return i, rating


@njit(cache=True, nogil=True, **FAST)
def _product(v, qi):  # pragma: no cover
    total = v.dtype.type(0)
    for d in range(len(v)):
        total += v[d] * qi[d]
    return total


@njit(cache=True, nogil=True, **FAST)
def _step(v, qi, pull_v, pull_q, keep_v, keep_q):  # pragma: no cover
    """Shrink both vectors and pull each along the other, both from the old values."""
    for d in range(len(v)):
        a, b = v[d], qi[d]
        v[d] = keep_v * a + pull_v * b
        qi[d] = keep_q * b + pull_q * a


@njit(cache=True, nogil=True, **FAST)
def _biased_steps(
    first, stop, draws, items, ratings, level, bias, item_bias, v, q, gain, rate, keep
):  # pragma: no cover
    """A step on each of a user's ratings; what it adds to the user's vector v counts `gain` times.

    Returns the sum of the squared errors and the user's bias.
    """
    total = 0.0
    for n in range(first, stop):
        i, rating = _draw(n, stop, draws, items, ratings)
        error = rating - (level + bias + item_bias[i] + _product(v, q[i]))
        total += error * error
        pull = rate * error
        bias = keep * bias + pull
        item_bias[i] = keep * item_bias[i] + pull
        _step(v, q[i], gain * pull, pull, keep, keep)
    return total, bias


@njit(cache=True, nogil=True, **FAST)
def svd_epoch(
    order, draws, indptr, items, ratings, mean, user_bias, item_bias, p, q, rate, penalty
):  # pragma: no cover  # fmt: skip
    """Steps of r_ui = mean + b_u + b_i + p_u . q_i over the ratings of some users; returns the squared errors' sum."""
    total = 0.0
    one = p.dtype.type(1)
    for u in order:
        squares, user_bias[u] = _biased_steps(
            indptr[u], indptr[u + 1], draws, items, ratings, mean, user_bias[u], item_bias, p[u], q, one,
            rate, one - rate * penalty,
        )  # fmt: skip
        total += squares
    return total


@njit(cache=True, nogil=True, **FAST)
def svdpp_epoch(
    order, draws, indptr, items, ratings, mean, user_bias, item_bias, p, q, rate, penalty, own_indptr, own, y
):  # pragma: no cover  # fmt: skip
    """`svd_epoch` with v_u = p_u + |N(u)|^-1/2 sum of y_j over N(u) in place of p_u; row u of (own_indptr, own) is N(u).

    A step moves all y_j of N(u) by the same, so that their scaled sum moves just as p_u does: v_u moves twice that, and
    after the user's last step v_u tells what p_u and each y_j have become. Exact, and O(D) a rating instead of
    O(|N(u)| D).
    """
    total = 0.0
    one, two = p.dtype.type(1), p.dtype.type(2)
    keep = one - rate * penalty
    v, start = np.empty(p.shape[1], p.dtype), np.empty(p.shape[1], p.dtype)
    for u in order:
        items_of_u = own[own_indptr[u] : own_indptr[u + 1]]
        if len(items_of_u) == 0:
            continue
        scale = one / np.sqrt(p.dtype.type(len(items_of_u)))
        v[:] = 0
        for j in items_of_u:
            for d in range(len(v)):
                v[d] += y[j, d]
        for d in range(len(v)):
            v[d] = p[u, d] + scale * v[d]
            start[d] = v[d]
        squares, user_bias[u] = _biased_steps(
            indptr[u], indptr[u + 1], draws, items, ratings, mean, user_bias[u], item_bias, v, q, two, rate, keep
        )
        total += squares
        # By now everything has shrunk by `left`; what the steps have added to v is half p_u's, half the sum's.
        left = p.dtype.type(float(keep) ** (indptr[u + 1] - indptr[u]))
        for d in range(len(v)):
            added = (v[d] - left * start[d]) / two
            p[u, d] = left * p[u, d] + added
            start[d] = scale * added
        for j in items_of_u:
            for d in range(len(v)):
                y[j, d] = left * y[j, d] + start[d]
    return total


@njit(cache=True, nogil=True, **FAST)
def pmf_epoch(
    order, draws, indptr, items, ratings, p, q, rate, user_penalty, item_penalty, low, span, sigmoid
):  # pragma: no cover  # fmt: skip
    """Steps of r_ui = p_u . q_i, or low + span sigmoid(p_u . q_i), with a penalty a step of each row's own.

    Returns the squared errors' sum.
    """
    total = 0.0
    one = p.dtype.type(1)
    for u in order:
        v, keep = p[u], one - rate * user_penalty[u]
        for n in range(indptr[u], indptr[u + 1]):
            i, rating = _draw(n, indptr[u + 1], draws, items, ratings)
            guess, slope = _product(v, q[i]), one
            if sigmoid:
                share = one / (one + np.exp(-guess))
                guess, slope = low + span * share, span * share * (one - share)
            error = rating - guess
            total += error * error
            pull = rate * error * slope
            _step(v, q[i], pull, pull, keep, one - rate * item_penalty[i])
    return total
