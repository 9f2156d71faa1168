"""One step of an optimizer on the rows that a sparse gradient names, duplicates added up, in one pass over them.

A gradient is rows (N,) and values (N, D), a row any number of times. Rows are sorted, stably, so that the values of a
row are added up in the order in which they came; then each thread owns a range of rows. The result is bitwise the same
for any number of threads. Per row its weights and state are read and written once, nothing is copied: O(N D).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.kernels.parallel import FAST, over_rows
from recsys.kernels.rows import fetch_row

SGD, ADAM, ADAGRAD, ROWWISE_ADAGRAD, FTRL, MOMENTUM_ADAGRAD = range(6)
"""Rules, and what each takes: its state, one row a row of weights, and its constants.

SGD: none; rate. ADAM: mean, square; rate, beta1, beta2, eps, root_scale (the step is rate mean / (root_scale
sqrt(square) + eps)). ADAGRAD: sum; rate, eps. ROWWISE_ADAGRAD: sum (n, 1); rate, eps. FTRL: z, n; rate, beta, l1, l2.
MOMENTUM_ADAGRAD: sum, velocity; rate, eps, momentum.
"""
AHEAD = 2
"""Rows by which weights and state are asked for before their step: memory answers meanwhile. More was slower."""
SMALL = 1 << 16
"""Numbers of a gradient below which starting threads takes longer than the step."""
BITS = 11
"""Bits by which rows are sorted at a time: the counts of 2048 values stay in the nearest cache."""


@njit(cache=True, nogil=True)
def _sort(rows, n_rows):  # pragma: no cover
    """Rows in ascending order and where each came from, by as many passes as the number of rows has digits."""
    n = len(rows)
    for row in rows:
        if row < 0 or row >= n_rows:
            raise DataError(
                "step_rows: a sparse gradient names a row outside its parameter; give rows below its length"
            )
    keys, places = rows.copy(), np.arange(n)
    keys_after, places_after = np.empty_like(keys), np.empty_like(places)
    shift = 0
    while n_rows - 1 >> shift > 0:
        counts = np.zeros((1 << BITS) + 1, np.int64)
        for key in keys:
            counts[(key >> shift & (1 << BITS) - 1) + 1] += 1
        ends = np.cumsum(counts)
        for i in range(n):
            digit = keys[i] >> shift & (1 << BITS) - 1
            keys_after[ends[digit]], places_after[ends[digit]] = keys[i], places[i]
            ends[digit] += 1
        keys, keys_after = keys_after, keys
        places, places_after = places_after, places
        shift += BITS
    return keys, places


@njit(cache=True, nogil=True)
def group_rows(rows, n_rows):  # pragma: no cover
    """Rows (N,), all below n_rows, as distinct ones (R,) in ascending order, `starts` (R + 1,) and `places` (N,).

    Distinct row r was at places[starts[r]] to places[starts[r + 1] - 1], ascending.
    """
    keys, places = _sort(rows, n_rows)
    distinct, starts = np.empty(len(rows), np.int64), np.empty(len(rows) + 1, np.int64)
    n = 0
    for i in range(len(keys)):
        if i == 0 or keys[i] != keys[i - 1]:
            distinct[n], starts[n] = keys[i], i
            n += 1
    starts[n] = len(keys)
    return distinct[:n], starts[: n + 1], places


@njit(cache=True, nogil=True, **FAST)
def _adam(w, g, mean, square, c):  # pragma: no cover
    rate, beta1, beta2, eps, root_scale = c[0], c[1], c[2], c[3], c[4]
    one = c.dtype.type(1)
    for d in range(len(w)):
        mean[d] += (one - beta1) * (g[d] - mean[d])
        square[d] = beta2 * square[d] + (one - beta2) * g[d] * g[d]
        w[d] -= rate * mean[d] / (root_scale * np.sqrt(square[d]) + eps)


@njit(cache=True, nogil=True, **FAST)
def _adagrad(w, g, total, c):  # pragma: no cover
    for d in range(len(w)):
        total[d] += g[d] * g[d]
        w[d] -= c[0] * g[d] / (np.sqrt(total[d]) + c[1])


@njit(cache=True, nogil=True, **FAST)
def _rowwise_adagrad(w, g, total, c):  # pragma: no cover
    squares = c.dtype.type(0)
    for d in range(len(w)):
        squares += g[d] * g[d]
    total[0] += squares / c.dtype.type(len(w))
    rate = c[0] / (np.sqrt(total[0]) + c[1])
    for d in range(len(w)):
        w[d] -= rate * g[d]


@njit(cache=True, nogil=True, **FAST)
def _ftrl(w, g, z, n, c):  # pragma: no cover
    rate, beta, l1, l2 = c[0], c[1], c[2], c[3]
    zero = c.dtype.type(0)
    for d in range(len(w)):
        before = np.sqrt(n[d])
        n[d] += g[d] * g[d]
        root = np.sqrt(n[d])
        z[d] += g[d] - (root - before) / rate * w[d]
        pull = max(abs(z[d]) - l1, zero) / ((beta + root) / rate + l2)
        w[d] = -pull if z[d] > zero else pull


@njit(cache=True, nogil=True, **FAST)
def _momentum_adagrad(w, g, total, velocity, c):  # pragma: no cover
    rate, eps, momentum = c[0], c[1], c[2]
    for d in range(len(w)):
        total[d] += g[d] * g[d]
        velocity[d] = momentum * velocity[d] - rate * g[d] / np.sqrt(total[d] + eps)
        w[d] += velocity[d]


@njit(cache=True, nogil=True, **FAST)
def _step_rows(
    start, stop, rule, rows, starts, places, values, decay, weight, first, second, constants
):  # pragma: no cover  # fmt: skip
    gradient, last = np.empty(weight.shape[2], weight.dtype), stop - 1
    for r in range(start, stop):
        soon = min(r + AHEAD, last)
        fetch_row(values, places[starts[soon]])
        fetch_row(weight, rows[soon])
        if rule != SGD:
            fetch_row(first, rows[soon])
        if rule in (ADAM, FTRL, MOMENTUM_ADAGRAD):
            fetch_row(second, rows[soon])
        row = rows[r]
        w = weight[row, 0]
        for d in range(len(w)):
            gradient[d] = decay * w[d]
        for i in range(starts[r], starts[r + 1]):
            value = values[places[i], 0]
            for d in range(len(w)):
                gradient[d] += value[d]
        if rule == SGD:
            for d in range(len(w)):
                w[d] -= constants[0] * gradient[d]
        elif rule == ADAM:
            _adam(w, gradient, first[row, 0], second[row, 0], constants)
        elif rule == ADAGRAD:
            _adagrad(w, gradient, first[row, 0], constants)
        elif rule == ROWWISE_ADAGRAD:
            _rowwise_adagrad(w, gradient, first[row, 0], constants)
        elif rule == FTRL:
            _ftrl(w, gradient, first[row, 0], second[row, 0], constants)
        else:
            _momentum_adagrad(w, gradient, first[row, 0], second[row, 0], constants)


def step_rows(
    rule: int,
    rows: NDArray[np.int64],
    values: NDArray[Any],
    weight: NDArray[Any],
    state: Sequence[NDArray[Any]],
    constants: tuple[float, ...],
    decay: float = 0.0,
    n_jobs: int = -1,
) -> None:
    """Step `weight` (n, D) and its state in place by a gradient of rows (N,) and values (N, D) plus decay times weight.

    All arrays but rows are of weight's kind, contiguous.
    """
    if not values.size:
        return
    tables = [part.reshape(len(part), 1, -1) for part in (values, weight, *state)]
    # Numba is given two states in any case; what a rule has not is never read.
    nothing = tables[1][:0]
    values, weight, first, second = (*tables, nothing, nothing)[:4]
    distinct, starts, places = group_rows(rows, len(weight))
    numbers, scale = np.array(constants, weight.dtype), weight.dtype.type(decay)

    def step(start: int, stop: int) -> None:
        _step_rows(start, stop, rule, distinct, starts, places, values, scale, weight, first, second, numbers)

    over_rows(step, len(distinct), 1 if values.size < SMALL else n_jobs)
