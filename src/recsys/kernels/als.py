"""Half-steps of alternating least squares: the normal equations of each row, solved by Cholesky."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.kernels.parallel import over_rows


@njit(cache=True, nogil=True)
def _solve_rows(start, stop, indptr, indices, extra, target, gram, penalty, factors, out):  # pragma: no cover
    dim = factors.shape[1]
    a = np.empty((dim, dim))
    b = np.empty(dim)
    for row in range(start, stop):
        a[:] = gram
        b[:] = 0.0
        for d in range(dim):
            a[d, d] += penalty[row]
        for at in range(indptr[row], indptr[row + 1]):
            v = factors[indices[at]]
            w, t = extra[at], target[at]
            for d in range(dim):
                b[d] += t * v[d]
                wv = w * v[d]
                for e in range(d + 1):
                    a[d, e] += wv * v[e]
        # Cholesky in the lower triangle, then two triangular solves.
        for d in range(dim):
            for e in range(d + 1):
                total = a[d, e]
                for m in range(e):
                    total -= a[d, m] * a[e, m]
                a[d, e] = np.sqrt(total) if d == e else total / a[e, e]
            total = b[d]
            for m in range(d):
                total -= a[d, m] * b[m]
            b[d] = total / a[d, d]
        for d in range(dim - 1, -1, -1):
            total = b[d]
            for m in range(d + 1, dim):
                total -= a[m, d] * b[m]
            b[d] = total / a[d, d]
        for d in range(dim):
            out[row, d] = b[d]


def solve_rows(
    matrix: Any,
    extra: NDArray[np.floating],
    target: NDArray[np.floating],
    gram: NDArray[np.float64],
    penalty: NDArray[np.float64],
    factors: NDArray[np.floating],
    n_jobs: int = -1,
) -> NDArray[np.float64]:
    """Solve (gram + sum_e extra_e v_e v_e' + penalty I) x = sum_e target_e v_e for each row of a CSR matrix: (n, D).

    `extra` and `target` (nnz,) belong to the matrix's entries, whose columns pick the v_e of `factors` (m, D). Time is
    nnz D^2 / 2 + n D^3 / 6 multiplications; memory is one D x D matrix a thread.
    """
    out = np.zeros((matrix.shape[0], factors.shape[1]))
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64)
    parts = (
        extra.astype(np.float64),
        target.astype(np.float64),
        gram,
        penalty,
        np.ascontiguousarray(factors, np.float64),
    )

    def work(start: int, stop: int) -> None:
        _solve_rows(start, stop, indptr, indices, *parts, out)

    over_rows(work, matrix.shape[0], n_jobs, np.diff(indptr))
    return out
