"""Half-steps of alternating least squares by conjugate gradients, in axes in which the fixed side's Gramian is diagonal.

Takacs, Pilaszy & Tikk, "Applications of the Conjugate Gradient Method for Implicit Feedback Collaborative Filtering",
RecSys 2011. Turning both sides by one rotation changes no score. In the principal axes of the fixed vectors the part of
a row's equations that all rows share is a diagonal: it costs nothing to multiply by, and dividing by it leaves the
identity plus what the row's own entries add, for which a few steps are enough. Those read the row's vectors alone,
which are gathered once into a buffer that stays in the cache.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.kernels.parallel import FAST, over_rows

GATHERED = 2048
"""Entries of a row that are copied together; a longer row reads its vectors where they are."""
FLAT = np.float32(1e-6)
"""Share of the largest curvature below which an axis is rounding, and is left out."""


@njit(cache=True, nogil=True, **FAST)
def _products(vectors, at, n, x, out):  # pragma: no cover
    """out[k] = vectors[at[k]] . x, four at a time so that x is loaded once for them."""
    k = 0
    while k + 4 <= n:
        a, b, c, d = vectors[at[k]], vectors[at[k + 1]], vectors[at[k + 2]], vectors[at[k + 3]]
        s = t = u = v = np.float32(0)
        for e in range(len(x)):
            s += a[e] * x[e]
            t += b[e] * x[e]
            u += c[e] * x[e]
            v += d[e] * x[e]
        out[k], out[k + 1], out[k + 2], out[k + 3] = s, t, u, v
        k += 4
    while k < n:
        a = vectors[at[k]]
        s = np.float32(0)
        for e in range(len(x)):
            s += a[e] * x[e]
        out[k] = s
        k += 1


@njit(cache=True, nogil=True, **FAST)
def _add_combination(vectors, at, n, w, out):  # pragma: no cover
    """out += sum over k of w[k] vectors[at[k]]."""
    k = 0
    while k + 4 <= n:
        a, b, c, d = vectors[at[k]], vectors[at[k + 1]], vectors[at[k + 2]], vectors[at[k + 3]]
        s, t, u, v = w[k], w[k + 1], w[k + 2], w[k + 3]
        for e in range(len(out)):
            out[e] += (s * a[e] + t * b[e]) + (u * c[e] + v * d[e])
        k += 4
    while k < n:
        a, s = vectors[at[k]], w[k]
        for e in range(len(out)):
            out[e] += s * a[e]
        k += 1


@njit(cache=True, nogil=True, **FAST)
def _descend(vectors, at, extra, target, diagonal, inverse, steps, tolerance, x, scratch, s):  # pragma: no cover
    """Conjugate gradients on (diagonal + sum_k extra_k v_k v_k') x = sum_k target_k v_k, from the x that is given.

    `inverse` is 1 / diagonal, and 0 where an axis is left out.
    """
    r, z, p, q = scratch[0], scratch[1], scratch[2], scratch[3]
    n, dim = len(extra), len(x)
    _products(vectors, at, n, x, s)
    for k in range(n):
        s[k] = target[k] - extra[k] * s[k]
    for d in range(dim):
        r[d] = -diagonal[d] * x[d]
    _add_combination(vectors, at, n, s, r)
    left = np.float32(0)
    for d in range(dim):
        z[d] = r[d] * inverse[d]
        p[d] = z[d]
        left += r[d] * z[d]
    enough = tolerance * left
    for _ in range(steps):
        if left <= enough:
            break
        _products(vectors, at, n, p, s)
        for k in range(n):
            s[k] *= extra[k]
        for d in range(dim):
            q[d] = diagonal[d] * p[d]
        _add_combination(vectors, at, n, s, q)
        curvature = np.float32(0)
        for d in range(dim):
            curvature += p[d] * q[d]
        length, before, left = left / curvature, left, np.float32(0)
        for d in range(dim):
            x[d] += length * p[d]
            r[d] -= length * q[d]
            z[d] = r[d] * inverse[d]
            left += r[d] * z[d]
        turn = left / before
        for d in range(dim):
            p[d] = z[d] + turn * p[d]


@njit(cache=True, nogil=True)
def _leave_out(diagonal, flat, inverse, x):  # pragma: no cover
    """Axes of no curvature but rounding get 0, and keep it."""
    for d in range(len(x)):
        if diagonal[d] <= flat:
            inverse[d] = x[d] = 0


@njit(cache=True, nogil=True, **FAST)
def _descend_rows(
    start, stop, indptr, indices, extra, target, base, penalty, factors, steps, tolerance, out
):  # pragma: no cover  # fmt: skip
    dim, longest = factors.shape[1], 0
    for row in range(start, stop):
        longest = max(longest, indptr[row + 1] - indptr[row])
    size = min(longest, GATHERED)
    gathered, places = np.empty((size, dim), np.float32), np.arange(size).astype(np.int32)
    scratch, s = np.empty((4, dim), np.float32), np.empty(longest, np.float32)
    diagonal, inverse = np.empty(dim, np.float32), np.empty(dim, np.float32)
    lowest, highest = base.min(), base.max()
    for row in range(start, stop):
        low, high = indptr[row], indptr[row + 1]
        if low == high:
            out[row] = 0
            continue
        for d in range(dim):
            diagonal[d] = base[d] + penalty[row]
            inverse[d] = np.float32(1) / diagonal[d]
        if lowest + penalty[row] <= FLAT * (highest + penalty[row]):
            _leave_out(diagonal, FLAT * (highest + penalty[row]), inverse, out[row])
        vectors, at = factors, indices[low:high]
        if high - low <= GATHERED:
            for k in range(high - low):
                vector = factors[indices[low + k]]
                for d in range(dim):
                    gathered[k, d] = vector[d]
            vectors, at = gathered, places
        _descend(
            vectors, at, extra[low:high], target[low:high], diagonal, inverse, steps, tolerance, out[row], scratch, s
        )  # fmt: skip


def descend_rows(
    matrix: Any,
    extra: NDArray[np.floating],
    target: NDArray[np.floating],
    base: NDArray[np.floating],
    penalty: NDArray[np.floating],
    factors: NDArray[np.float32],
    out: NDArray[np.float32],
    steps: int,
    tolerance: float = 0.0,
    n_jobs: int = -1,
) -> None:
    """Bring each row of `out` (n, D) nearer to (diag(base + penalty_row) + sum_e extra_e v_e v_e') x = sum_e target_e v_e.

    At most `steps` conjugate gradients from what `out` holds, fewer once the squared residual has shrunk by `tolerance`;
    none makes the quadratic form larger. `extra` and `target` (nnz,) belong to the entries of the CSR matrix, whose
    columns pick the v_e of `factors` (m, D). Rows without entries become 0. Time is (1 + steps) 2 nnz D
    multiplications; memory is 2,048 vectors a thread.
    """
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    parts = [np.ascontiguousarray(part, np.float32) for part in (extra, target, base, penalty, factors)]

    def work(start: int, stop: int) -> None:
        _descend_rows(start, stop, indptr, indices, *parts, steps, np.float32(tolerance), out)

    over_rows(work, matrix.shape[0], n_jobs, np.diff(indptr))


@njit(cache=True, nogil=True, **FAST)
def _score_rows(start, stop, indptr, indices, left, right, out):  # pragma: no cover
    for row in range(start, stop):
        for at in range(indptr[row], indptr[row + 1]):
            total = 0.0
            for d in range(left.shape[1]):
                total += np.float64(left[row, d]) * np.float64(right[indices[at], d])
            out[at] = total


def score_entries(
    matrix: Any, left: NDArray[np.floating], right: NDArray[np.floating], n_jobs: int = -1
) -> NDArray[np.float64]:
    """left_row . right_column for each entry of a CSR matrix, (nnz,), in float64."""
    out = np.empty(matrix.nnz)
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    parts = [np.ascontiguousarray(part, np.float32) for part in (left, right)]

    def work(start: int, stop: int) -> None:
        _score_rows(start, stop, indptr, indices, *parts, out)

    over_rows(work, matrix.shape[0], n_jobs, np.diff(indptr))
    return out
