"""Coordinate descent for sparse non-negative regressions of each column of a matrix on its others.

For each column j of X, min over w >= 0 with w_j = 0 of 1/2 |x_j - X w|^2 + l2/2 |w|^2 + l1 |w|_1, on the Gram matrix
X'X. Where X is nowhere negative, an item i with (X'X)_ij <= l1 has w_i = 0: only the others are looked at.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numba import njit
from numpy.typing import NDArray

from recsys.kernels.history import BLOCK, add_rows, csr_parts
from recsys.kernels.parallel import FAST, over_rows
from recsys.kernels.topk import LAYOUT

ROW_BUFFER = 1 << 22
"""Numbers of Gram rows that a thread keeps while it solves a column, 16 MiB; other rows are made again at each step."""


@njit(cache=True, nogil=True, **FAST)
def _add_scaled(factor, row, gradient):  # pragma: no cover
    for m in range(len(gradient)):
        gradient[m] += factor * row[m]


@njit(cache=True, nogil=True)
def _gram_row(item, left, right, place, row, dirty):  # pragma: no cover
    """Row `item` of left @ right into `row`, zeros before: all columns, or column i at place[i] alone."""
    (l_indptr, l_columns, l_values), (indptr, indices, data) = left, right
    a, b = l_indptr[item], l_indptr[item + 1]
    add_rows(l_columns[a:b], l_values[a:b], indptr, indices, data, place, row, dirty)


@njit(cache=True, nogil=True)
def _minimize(
    chosen, diagonal, l2, left, right, place, tolerance, max_iterations, w, gradient, rows, slots, dirty
):  # pragma: no cover  # fmt: skip
    """Minimize over the `chosen` items from w = 0, where the gradient is given; returns the passes made.

    Stops when no coordinate is off by more than `tolerance`: |gradient| where w is above 0, its negative part where
    w is 0. Passes are max_iterations + 1 where that was not reached.
    """
    n = len(chosen)
    n_slots, used = len(rows) // max(1, n), 0
    for i in range(n):
        slots[i] = -1
    for iteration in range(max_iterations + 1):
        worst = 0.0
        for i in range(n):
            worst = max(worst, abs(gradient[i]) if w[i] > 0.0 else -gradient[i])
        if worst <= tolerance:
            return iteration
        if iteration == max_iterations:
            break
        for i in range(n):
            if w[i] == 0.0 and gradient[i] >= 0.0:
                continue
            step = max(w[i] - gradient[i] / (diagonal[chosen[i]] + l2), 0.0) - w[i]
            slot = slots[i]
            if slot < 0:
                # The last slot is made anew for each item that comes too late for one of its own.
                slot = min(used, n_slots - 1)
                rows[slot * n : (slot + 1) * n] = 0.0
                _gram_row(chosen[i], left, right, place, rows[slot * n : (slot + 1) * n], dirty)
                if used < n_slots - 1:
                    slots[i] = used
                    used += 1
            w[i] += step
            _add_scaled(step, rows[slot * n : (slot + 1) * n], gradient)
            gradient[i] += step * l2
    return max_iterations + 1


@njit(cache=True, nogil=True)
def _choose(column, sums, dirty, near, l1, chosen):  # pragma: no cover
    """Items that can have a weight for a column, of those `near` where there are any; returns their number.

    `sums` is the column of the Gram matrix.
    """
    found = 0
    if len(near):
        for i in near:
            if i >= 0 and i != column and sums[i] > l1:
                chosen[found] = i
                found += 1
        return found
    for c in range(len(dirty)):
        if dirty[c]:
            for i in range(c * BLOCK, min((c + 1) * BLOCK, len(sums))):
                if i != column and sums[i] > l1:
                    chosen[found] = i
                    found += 1
    return found


@njit(cache=True, nogil=True)
def _clear(sums, dirty):  # pragma: no cover
    for c in range(len(dirty)):
        if dirty[c]:
            sums[c * BLOCK : (c + 1) * BLOCK] = 0.0
            dirty[c] = False


@njit(cache=True, nogil=True)
def _solve_columns(
    start, stop, l_indptr, l_columns, l_values, indptr, indices, data, diagonal, near, l1, l2, tolerance,
    max_iterations, row_buffer, passes,
):  # pragma: no cover  # fmt: skip
    """Columns start ... stop: how many weights each has, and the items and the weights of all in turn."""
    n_items = len(diagonal)
    left, right = (l_indptr, l_columns, l_values), (indptr, indices, data)
    sums, n_blocks = np.zeros(n_items, np.float32), -(-n_items // BLOCK)
    dirty, unread = np.zeros(n_blocks, np.bool_), np.zeros(n_blocks, np.bool_)
    place, everything = np.full(n_items, -1, np.int64), np.empty(0, np.int64)
    chosen, slots = np.empty(n_items, np.int64), np.empty(n_items, np.int64)
    w, gradient, rows = np.empty(n_items), np.empty(n_items), np.empty(max(row_buffer, n_items), np.float32)
    counts, filled = np.zeros(stop - start, np.int64), 0
    items, weights = np.empty(1024, np.int32), np.empty(1024, np.float32)
    for column in range(start, stop):
        _gram_row(column, left, right, everything, sums, dirty)
        n, largest = _choose(column, sums, dirty, near[column], l1, chosen), 0.0
        for i in range(n):
            place[chosen[i]] = i
            w[i], gradient[i] = 0.0, l1 - sums[chosen[i]]
            largest = max(largest, -gradient[i])
        _clear(sums, dirty)
        passes[column] = _minimize(
            chosen[:n], diagonal, l2, left, right, place, tolerance * largest, max_iterations,
            w[:n], gradient[:n], rows, slots, unread,
        )  # fmt: skip
        for i in range(n):
            place[chosen[i]] = -1
            if w[i] > 0.0:
                if filled == len(items):
                    items, weights = np.append(items, items), np.append(weights, weights)
                items[filled], weights[filled] = chosen[i], w[i]
                filled += 1
                counts[column - start] += 1
    return counts, items[:filled], weights[:filled]


def solve_columns(
    left: Any,
    right: Any,
    diagonal: NDArray[np.float64],
    near: NDArray[np.integer] | None,
    l1: float,
    l2: float,
    tolerance: float,
    max_iterations: int,
    n_jobs: int = -1,
    row_buffer: int = ROW_BUFFER,
) -> tuple[Any, NDArray[np.int64]]:
    """All columns' weights, CSC (I, I) float32, and the passes that each took (max_iterations + 1: it was stopped).

    X'X is given as left @ right, CSR (I, J) and (J, I), both nowhere negative, with its `diagonal`: X' and X, or an
    identity and the product itself, which is faster. `near` (I, K) are the only items that a column may have, padded
    with -1. Besides what is given, memory is `row_buffer` numbers a thread.
    """
    n_items = len(diagonal)
    near = np.empty((n_items, 0), np.int64) if near is None else np.require(near, np.int64, LAYOUT)
    passes = np.zeros(n_items, np.int64)
    parts, found = csr_parts(left, right), dict[int, Any]()

    def solve(start: int, stop: int) -> None:
        found[start] = _solve_columns(
            start,
            stop,
            *parts,
            diagonal,
            near,
            float(l1),
            float(l2),
            float(tolerance),
            max_iterations,
            row_buffer,
            passes,
        )

    over_rows(solve, n_items, n_jobs, np.diff(left.indptr))
    counts, items, weights = (np.concatenate(part) for part in zip(*(found[at] for at in sorted(found)), strict=True))
    indptr = np.append(0, np.cumsum(counts))
    return sp.csc_matrix((weights, items, indptr), shape=(n_items, n_items)), passes
