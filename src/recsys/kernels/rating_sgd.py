"""Stochastic gradient steps on ratings, a user at a time, so that the user's vector stays in the nearest cache.

Ratings lie by user, those of user u from indptr[u] to indptr[u + 1]; a pass takes the users in the order given and
shuffles each one's ratings in place, by `seed`. Vectors are rows of tables (`kernels.rows`). On one thread that is
bitwise repeatable; over parts of the order at once, threads change items without locks and now and then lose a step.
"""

import numpy as np
from numba import njit

from recsys.kernels.draws import draw
from recsys.kernels.parallel import FAST
from recsys.kernels.rows import add_row, dot_row, fetch_row, step_both, step_row

AHEAD = 2
"""Ratings by which an item's vector is asked for before its step: memory, or the other threads, answer meanwhile."""


@njit(cache=True, nogil=True)
def _shuffle(seed, first, stop, items, ratings):  # pragma: no cover
    for n in range(first, stop):
        at = n + draw(seed, n, stop - n)
        i, rating = items[at], ratings[at]
        items[at], ratings[at] = items[n], ratings[n]
        items[n], ratings[n] = i, rating


@njit(cache=True, nogil=True, **FAST)
def _biased_steps(first, stop, items, ratings, level, bias, item_bias, v, q, gain, rate, keep):  # pragma: no cover
    """A step on each of a user's ratings, one or more; what it adds to the user's vector v counts `gain` times.

    Returns the sum of the squared errors and the user's bias.
    """
    total, last = 0.0, stop - 1
    product = dot_row(q, items[first], v)
    for n in range(first, stop):
        fetch_row(q, items[min(n + AHEAD, last)])
        i = items[n]
        error = ratings[n] - (level + bias + item_bias[i] + product)
        total += error * error
        pull = rate * error
        bias = keep * bias + pull
        item_bias[i] = keep * item_bias[i] + pull
        product = step_both(q, i, v, pull, gain * pull, keep, keep, items[min(n + 1, last)])
    return total, bias


@njit(cache=True, nogil=True, **FAST)
def svd_epoch(
    order, seed, indptr, items, ratings, mean, user_bias, item_bias, p, q, rate, penalty
):  # pragma: no cover  # fmt: skip
    """Steps of r_ui = mean + b_u + b_i + p_u . q_i over the ratings of some users; returns the squared errors' sum."""
    total, one = 0.0, p.dtype.type(1)
    for u in order:
        first, stop = indptr[u], indptr[u + 1]
        if first == stop:
            continue
        _shuffle(seed, first, stop, items, ratings)
        squares, user_bias[u] = _biased_steps(
            first, stop, items, ratings, mean, user_bias[u], item_bias, p[u, 0], q, one, rate, one - rate * penalty
        )
        total += squares
    return total


@njit(cache=True, nogil=True, **FAST)
def bias_epoch(indptr, items, ratings, mean, user_bias, item_bias, rate, penalty):  # pragma: no cover
    """Steps of r_ui = mean + b_u + b_i over all ratings as they lie."""
    keep = item_bias.dtype.type(1) - rate * penalty
    for u in range(len(user_bias)):
        for n in range(indptr[u], indptr[u + 1]):
            i = items[n]
            pull = rate * (ratings[n] - (mean + user_bias[u] + item_bias[i]))
            user_bias[u] = keep * user_bias[u] + pull
            item_bias[i] = keep * item_bias[i] + pull


@njit(cache=True, nogil=True, **FAST)
def svdpp_epoch(
    order, seed, indptr, items, ratings, mean, user_bias, item_bias, p, q, rate, penalty, own_indptr, own, y
):  # pragma: no cover  # fmt: skip
    """`svd_epoch` with v_u = p_u + |N(u)|^-1/2 sum of y_j over N(u) in place of p_u; row u of (own_indptr, own) is N(u).

    A step moves all y_j of N(u) by the same, so that their scaled sum moves just as p_u does: v_u moves twice that, and
    after the user's last step v_u tells what p_u and each y_j have become. Exact, and O(D) a rating instead of
    O(|N(u)| D).
    """
    total, one, two = 0.0, p.dtype.type(1), p.dtype.type(2)
    keep = one - rate * penalty
    v, start = np.empty(p.shape[2], p.dtype), np.empty(p.shape[2], p.dtype)
    for u in order:
        first, stop = indptr[u], indptr[u + 1]
        if first == stop:
            continue
        items_of_u = own[own_indptr[u] : own_indptr[u + 1]]
        scale = one / np.sqrt(p.dtype.type(len(items_of_u)))
        v[:] = 0
        for j in items_of_u:
            add_row(y, j, scale, v)
        add_row(p, u, one, v)
        start[:] = v
        _shuffle(seed, first, stop, items, ratings)
        squares, user_bias[u] = _biased_steps(
            first, stop, items, ratings, mean, user_bias[u], item_bias, v, q, two, rate, keep
        )
        total += squares
        # By now everything has shrunk by `left`; what the steps have added to v is half p_u's, half the sum's.
        left = p.dtype.type(float(keep) ** (stop - first))
        for d in range(len(v)):
            start[d] = (v[d] - left * start[d]) / two
        step_row(p, u, one, start, left)
        for j in items_of_u:
            step_row(y, j, scale, start, left)
    return total


@njit(cache=True, nogil=True, **FAST)
def pmf_epoch(
    order, seed, indptr, items, ratings, p, q, rate, user_penalty, item_penalty, low, span, sigmoid
):  # pragma: no cover  # fmt: skip
    """Steps of r_ui = p_u . q_i, or low + span sigmoid(p_u . q_i), with a penalty a step of each row's own.

    Returns the squared errors' sum.
    """
    total, one = 0.0, p.dtype.type(1)
    for u in order:
        first, stop = indptr[u], indptr[u + 1]
        if first == stop:
            continue
        _shuffle(seed, first, stop, items, ratings)
        v, keep, last = p[u, 0], one - rate * user_penalty[u], stop - 1
        product = dot_row(q, items[first], v)
        for n in range(first, stop):
            fetch_row(q, items[min(n + AHEAD, last)])
            guess, slope = product, one
            if sigmoid:
                share = one / (one + np.exp(-guess))
                guess, slope = low + span * share, span * share * (one - share)
            error = ratings[n] - guess
            total += error * error
            pull, i = rate * error * slope, items[n]
            product = step_both(q, i, v, pull, pull, one - rate * item_penalty[i], keep, items[min(n + 1, last)])
    return total
