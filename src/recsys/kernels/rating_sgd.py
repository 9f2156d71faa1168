"""Stochastic gradient steps on ratings, one after the other: serial, so bitwise repeatable."""

from numba import njit

from recsys.kernels.parallel import FAST


@njit(cache=True, nogil=True, **FAST)
def svd_epoch(order, users, items, ratings, mean, user_bias, item_bias, p, q, rate, penalty):  # pragma: no cover
    """One pass over the ratings in the given order; both factors step from the old values. Returns the squared error's
    sum."""
    total = 0.0
    for n in order:
        u, i = users[n], items[n]
        pu, qi = p[u], q[i]
        guess = mean + user_bias[u] + item_bias[i]
        for d in range(len(pu)):
            guess += pu[d] * qi[d]
        error = ratings[n] - guess
        total += error * error
        user_bias[u] += rate * (error - penalty * user_bias[u])
        item_bias[i] += rate * (error - penalty * item_bias[i])
        for d in range(len(pu)):
            a, b = pu[d], qi[d]
            pu[d] = a + rate * (error * b - penalty * a)
            qi[d] = b + rate * (error * a - penalty * b)
    return total
