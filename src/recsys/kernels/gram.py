"""The Gram matrix of a sparse matrix and its inverse, dense, in one half: LAPACK's rectangular full packed format.

A symmetric matrix (n, n) takes n (n + 1) / 2 numbers. The packed one is a rectangle of `height` rows by columns: column c
of the lower half where c is in the first half of the columns, and the others turned into what is left free above them.
"""

from typing import Any

import numpy as np
import scipy.linalg
from numba import njit
from numpy.typing import NDArray

from recsys.kernels.parallel import over_rows

BLOCK = 64
"""Rows and columns of the square that is turned at a time: what is read and what is written stay in the cache."""
MOST_PACKED = 46_340
"""Largest n whose n (n + 1) fits the 32-bit integers that SciPy's wrappers of these routines count with."""


@njit(cache=True, nogil=True)
def _place(row, column, n):  # pragma: no cover
    """Where the packed matrix holds entry (row, column), row >= column."""
    even, first = 1 - n % 2, n - n // 2
    if column < first:
        return column * (n + even) + row + even
    return (row - first + 1 - even) * (n + even) + column - first


@njit(cache=True, nogil=True)
def _gram_rows(
    start, stop, i_indptr, users, i_data, u_indptr, items, u_data, at, sums, regularization, packed
):  # pragma: no cover  # fmt: skip
    n = len(sums)
    for i in range(start, stop):
        for e in range(i_indptr[i], i_indptr[i + 1]):
            user, x = users[e], i_data[e]
            # Items are sorted: what the user has before i was paired with it when it was their turn.
            while items[at[user]] < i:
                at[user] += 1
            for h in range(at[user], u_indptr[user + 1]):
                sums[items[h]] += x * u_data[h]
        sums[i] += regularization
        for j in range(i, n):
            packed[_place(j, i, n)] = sums[j]
            sums[j] = 0.0


@njit(cache=True, nogil=True)
def _weight_rows(start, stop, packed, out):  # pragma: no cover
    n = len(out)
    diagonal = np.empty(n)
    for i in range(n):
        diagonal[i] = packed[_place(i, i, n)]
    for first in range(start * BLOCK, min(stop * BLOCK, n), BLOCK):
        for second in range(first, n, BLOCK):
            for i in range(first, min(first + BLOCK, n)):
                for j in range(max(second, i + 1), min(second + BLOCK, n)):
                    p = packed[_place(j, i, n)]
                    out[i, j] = -p / diagonal[j]
                    out[j, i] = -p / diagonal[i]
    for i in range(start * BLOCK, min(stop * BLOCK, n)):
        out[i, i] = 0.0


def packed_gram(x: Any, regularization: float, n_jobs: int = -1) -> NDArray[np.float64]:
    """X'X + regularization I of a CSR matrix (m, n) with sorted indices, packed; summed in float64.

    Time is half the sum over rows of the square of their entries, and n^2 / 2.
    """
    n = x.shape[1]
    columns = x.T.tocsr()
    parts = [
        np.ascontiguousarray(part, dtype)
        for matrix in (columns, x)
        for part, dtype in ((matrix.indptr, np.int64), (matrix.indices, np.int32), (matrix.data, np.float64))
    ]
    packed = np.empty(n * (n + 1) // 2)

    def fill(start: int, stop: int) -> None:
        _gram_rows(start, stop, *parts, parts[3][:-1].copy(), np.zeros(n), float(regularization), packed)

    over_rows(fill, n, n_jobs, np.diff(columns.indptr))
    return packed


def invert_packed(packed: NDArray[np.float64], n: int) -> bool:
    """Invert a packed positive definite matrix by Cholesky, in its place; False where it is not definite."""
    for step in (scipy.linalg.lapack.dpftrf, scipy.linalg.lapack.dpftri):
        packed, failed = step(n, packed, transr="N", uplo="L", overwrite_a=True)
        if failed:
            return False
    return True


def packed_weights(packed: NDArray[np.float64], n: int, n_jobs: int = -1) -> NDArray[np.float32]:
    """B with B_ij = -P_ij / P_jj and B_jj = 0 for a packed P, (n, n) float32."""
    out = np.empty((n, n), np.float32)
    n_blocks = -(-n // BLOCK)
    # The first rows are the longest.
    cost = np.arange(n_blocks)[::-1]
    over_rows(lambda start, stop: _weight_rows(start, stop, packed, out), n_blocks, n_jobs, cost)
    return out
