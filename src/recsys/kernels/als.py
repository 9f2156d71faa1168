"""Half-steps of alternating least squares: the normal equations of each row, solved by Cholesky.

Both halves of the work, the sum of the outer products and the elimination, are tiles of a matrix product, kept in
registers. BLAS is not asked: its threads would fight with the ones over rows, and its sums would depend on their number.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from recsys.kernels.parallel import over_rows
from recsys.kernels.vectors import DOUBLES, INDEX, array_of, inline_ir, load, multiply_add, spread, store, sum_products

TILE_ROWS, TILE_COLUMNS = 6, 8
"""6 x 8 sums fill 12 of the 16 registers of AVX2."""
ENTRIES = 64
"""Entries of a row that are gathered at a time."""
FLAT = 1e-13
"""Share of a dimension's curvature that rounding can leave of what others explain in full."""


@inline_ir
def _add_products(
    typing: Any, out: Any, row: Any, column: Any, sign: Any, left: Any, right: Any, depth: Any
) -> Any:  # fmt: skip
    """out[row : row + 6, column : column + 8] += sign left[:depth, row : row + 6].T @ right[:depth, column : column + 8]."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out, left, right = (array_of(context, builder, signature, args, i) for i in (0, 4, 5))
        row, column, sign, depth = args[1], args[2], args[3], args[6]
        width, *steps = (builder.extract_value(array.shape, 1) for array in (out, left, right))
        ends = (left.data, row), (right.data, column, DOUBLES)
        totals = sum_products(builder, TILE_ROWS, ends[0], steps[0], ends[1], steps[1], depth)
        factor = spread(builder, sign, DOUBLES)
        for i, total in enumerate(totals):
            at = builder.add(builder.mul(builder.add(row, INDEX(i)), width), column)
            store(builder, multiply_add(builder, load(builder, out.data, at, DOUBLES), factor, total), out.data, at)
        return context.get_dummy_value()

    return types.void(out, types.intp, types.intp, types.float64, left, right, types.intp), build


@njit(cache=True, nogil=True)
def _add_tiles(out, first, sign, left, right, depth):  # pragma: no cover
    """Six rows of out += sign left[:depth].T @ right[:depth], from the diagonal on: what is below means nothing."""
    for column in range(first - first % TILE_COLUMNS, out.shape[1], TILE_COLUMNS):
        _add_products(out, first, column, sign, left, right, depth)


@njit(cache=True, nogil=True)
def _eliminate(a, dim, pivots):  # pragma: no cover
    """Turn [A | b] (D, D + 1) into [U | y] with U'U = A and U'y = b, U in the upper triangle, 1 / U_dd in `pivots`.

    A dimension that others explain in full has no pivot but rounding; 0 stands for its inverse, which leaves it out.
    """
    for first in range(0, dim, TILE_ROWS):
        _add_tiles(a, first, -1.0, a, a, first)
        for d in range(first, min(first + TILE_ROWS, dim)):
            for m in range(first, d):
                factor = a[m, d]
                for e in range(d, dim + 1):
                    a[d, e] -= factor * a[m, e]
            # Not "above": a NaN is to spread.
            pivots[d] = 0.0 if a[d, d] <= FLAT * pivots[d] else 1.0 / np.sqrt(a[d, d])
            for e in range(d, dim + 1):
                a[d, e] *= pivots[d]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _substitute(a, dim, pivots, out):  # pragma: no cover
    """Solve U x = y for [U | y] (D, D + 1), into out (D,)."""
    for d in range(dim - 1, -1, -1):
        total = 0.0
        for e in range(d + 1, dim):
            total += a[d, e] * out[e]
        out[d] = (a[d, dim] - total) * pivots[d]


@njit(cache=True, nogil=True)
def _solve_rows(
    start, stop, indptr, indices, extra, target, gram, penalty, factors, linear, out
):  # pragma: no cover  # fmt: skip
    dim = factors.shape[1]
    height = -(-dim // TILE_ROWS) * TILE_ROWS
    width = -(-max(height, dim + 1) // TILE_COLUMNS) * TILE_COLUMNS
    # Whole tiles; the target is column D of what is multiplied, so that b grows beside A.
    a, pivots = np.zeros((height, width)), np.empty(dim)
    left, right = np.zeros((ENTRIES, height)), np.zeros((ENTRIES, width))
    for row in range(start, stop):
        if indptr[row] == indptr[row + 1]:
            continue
        for d in range(dim):
            for e in range(dim):
                a[d, e] = gram[d, e]
            a[d, d] += penalty[row]
            a[d, dim] = linear[row, d] if len(linear) else 0.0
        for low in range(indptr[row], indptr[row + 1], ENTRIES):
            n = min(ENTRIES, indptr[row + 1] - low)
            for k in range(n):
                for d in range(dim):
                    left[k, d] = factors[indices[low + k], d]
                    right[k, d] = extra[low + k] * left[k, d]
                right[k, dim] = target[low + k]
            for first in range(0, dim, TILE_ROWS):
                _add_tiles(a, first, 1.0, left, right, n)
        for d in range(dim):
            pivots[d] = a[d, d]
        _eliminate(a, dim, pivots)
        _substitute(a, dim, pivots, out[row])


def solve_rows(
    matrix: Any,
    extra: NDArray[np.floating],
    target: NDArray[np.floating],
    gram: NDArray[np.float64],
    penalty: NDArray[np.float64],
    factors: NDArray[np.floating],
    n_jobs: int = -1,
    linear: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """Solve (gram + sum_e extra_e v_e v_e' + penalty I) x = linear + sum_e target_e v_e for each row of a CSR matrix: (n, D).

    `extra` and `target` (nnz,) belong to the matrix's entries, whose columns pick the v_e of `factors` (m, D); `linear`
    (n, D) is 0 unless given. Rows without entries are 0. Where the equations leave dimensions open, those are 0. Time
    is nnz D^2 / 2 + n D^3 / 6 multiplications; memory is one D x D matrix a thread.
    """
    dim = factors.shape[1]
    out = np.zeros((matrix.shape[0], dim))
    linear = np.empty((0, dim)) if linear is None else linear
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64)
    parts = [np.ascontiguousarray(part, np.float64) for part in (extra, target, gram, penalty, factors, linear)]

    def work(start: int, stop: int) -> None:
        _solve_rows(start, stop, indptr, indices, *parts, out)

    over_rows(work, matrix.shape[0], n_jobs, np.diff(indptr))
    return out
