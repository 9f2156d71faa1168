"""Stochastic gradient steps on pairs of items, one interaction after the other: serial, so bitwise repeatable."""

import numpy as np
from numba import njit

from recsys.kernels.parallel import FAST


@njit(cache=True, nogil=True)
def is_positive(indptr, indices, u, i):  # pragma: no cover
    """Whether item i is in the sorted row u."""
    low, high = indptr[u], indptr[u + 1]
    while low < high:
        middle = (low + high) // 2
        if indices[middle] < i:
            low = middle + 1
        else:
            high = middle
    return low < indptr[u + 1] and indices[low] == i


@njit(cache=True, nogil=True, **FAST)
def _step(pu, qi, qj, z, rate, penalty_user, penalty_item):  # pragma: no cover
    """Move the three vectors of a triple, all from the old values; z = sigmoid(x_uj - x_ui)."""
    for d in range(len(pu)):
        a, b, c = pu[d], qi[d], qj[d]
        pu[d] = a + rate * (z * (b - c) - penalty_user * a)
        qi[d] = b + rate * (z * a - penalty_item * b)
        qj[d] = c + rate * (-z * a - penalty_item * c)


@njit(cache=True, nogil=True, **FAST)
def _step_adagrad(
    pu, qi, qj, square_pu, square_qi, square_qj, z, rate, penalty_user, penalty_item
):  # pragma: no cover  # fmt: skip
    """`_step` with each gradient divided by the root of its summed squares, its own included."""
    for d in range(len(pu)):
        a, b, c = pu[d], qi[d], qj[d]
        ga, gb, gc = z * (b - c) - penalty_user * a, z * a - penalty_item * b, -z * a - penalty_item * c
        sa, sb, sc = square_pu[d] + ga * ga, square_qi[d] + gb * gb, square_qj[d] + gc * gc
        square_pu[d], square_qi[d], square_qj[d] = sa, sb, sc
        pu[d] = a + rate * (ga / np.sqrt(sa))
        qi[d] = b + rate * (gb / np.sqrt(sb))
        qj[d] = c + rate * (gc / np.sqrt(sc))


@njit(cache=True, nogil=True, **FAST)
def bpr_epoch(
    draws, negatives, users, indptr, indices, p, q, bias, rate, penalty_user, penalty_item, use_bias,
    square_p, square_q, square_b,
):  # pragma: no cover  # fmt: skip
    """One step for each drawn interaction. `negatives` (N, T): the first of a row that is no positive is taken.

    Accumulators of squared gradients (Adagrad) have the shape of what they belong to and start above 0, or length 0 for
    plain SGD.
    Returns the sum of -ln sigmoid(x_ui - x_uj) and the number of steps (a draw without a valid negative makes none).
    """
    total, steps = 0.0, 0
    for n in range(len(draws)):
        u, i, j = users[draws[n]], indices[draws[n]], -1
        for t in range(negatives.shape[1]):
            if not is_positive(indptr, indices, u, negatives[n, t]):
                j = negatives[n, t]
                break
        if j < 0:
            continue
        x = bias[i] - bias[j]
        for d in range(p.shape[1]):
            x += p[u, d] * (q[i, d] - q[j, d])
        # In the factors' own precision, or every product below would be made in double.
        z = p.dtype.type(1.0 / (1.0 + np.exp(x)))
        total += np.log1p(np.exp(-x)) if x > -30 else -x
        steps += 1
        if len(square_p) > 0:
            _step_adagrad(p[u], q[i], q[j], square_p[u], square_q[i], square_q[j], z, rate, penalty_user, penalty_item)
        else:
            _step(p[u], q[i], q[j], z, rate, penalty_user, penalty_item)
        if use_bias:
            gi, gj = z - penalty_item * bias[i], -z - penalty_item * bias[j]
            if len(square_b) > 0:
                square_b[i] += gi * gi
                square_b[j] += gj * gj
                gi /= np.sqrt(square_b[i])
                gj /= np.sqrt(square_b[j])
            bias[i] += rate * gi
            bias[j] += rate * gj
    return total, steps
