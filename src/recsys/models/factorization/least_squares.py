"""One side's half of an alternating least squares problem, and the ways to solve it.

Hu, Koren & Volinsky, ICDM 2008 (the Gramian); Takacs et al., RecSys 2011 (conjugate gradients); Rendle et al., "iALS++:
Speeding up Matrix Factorization with Subspace Optimization", 2021 (blocks of coordinates).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.als import solve_rows
from recsys.kernels.als_gradients import descend_rows, score_entries
from recsys.kernels.parallel import one_blas_thread, over_rows

CONVERGED = 1e-13
"""Share of a squared residual at which conjugate gradients in float32 have nothing left to gain."""
ROWS = 4096
"""Rows of a product with the vectors that are made at a time: the same for any number of threads, so that sums are too."""
WAVE = 16
"""Parts of a Gramian that are held at a time."""

Factors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Half:
    """For each row of a CSR matrix (n, m): the x with the least
    share x'V'V x + penalty |x|^2 + sum_e (extra_e (v_e x)^2 - 2 target_e v_e x).

    `extra` and `target` (nnz,) belong to the entries of the matrix, `penalty` (n,) to its rows, V (m, D) are the vectors
    of its columns.
    """

    matrix: Any
    extra: NDArray[np.float32]
    target: NDArray[np.float32]
    penalty: NDArray[np.float32]
    share: float
    n_jobs: int

    def rows(self, rows: NDArray[np.int64]) -> "Half":
        """The problem of some rows alone."""
        marked = self.matrix.copy()
        marked.data = np.arange(self.matrix.nnz)
        part = marked[rows]
        return Half(part, self.extra[part.data], self.target[part.data], self.penalty[rows], self.share, self.n_jobs)

    def exact(self, factors: NDArray[np.floating], gram: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """The minimum, by Cholesky: (n, D). `gram` is V'V, where it is known."""
        equal = self.share * (gramian(factors, self.n_jobs) if gram is None else gram)
        return solve_rows(self.matrix, self.extra, self.target, equal, self.penalty, factors, self.n_jobs)

    def converged(self, factors: Factors, curvature: NDArray[np.float64]) -> Factors:
        """The minimum in float32, by conjugate gradients from zero, where V'V is the diagonal `curvature` (D,)."""
        found = np.zeros((self.matrix.shape[0], factors.shape[1]), np.float32)
        steps = 2 * factors.shape[1]
        self._descend(factors, found, curvature, steps, CONVERGED)
        return found

    def nearer(self, factors: Factors, start: Factors, steps: int) -> tuple[Factors, Factors]:
        """A few conjugate gradients from `start` (n, D): V and x, both turned into V's principal axes."""
        curvature, axes = principal_axes(factors, self.n_jobs)
        turned, found = rotated(factors, axes, self.n_jobs), rotated(start, axes, self.n_jobs)
        self._descend(turned, found, curvature, steps, 0.0)
        return turned, found

    def _descend(
        self, factors: Factors, found: Factors, curvature: NDArray[np.float64], steps: int, tolerance: float
    ) -> None:
        descend_rows(
            self.matrix, self.extra, self.target, self.share * curvature, self.penalty, factors, found, steps,
            tolerance, self.n_jobs,
        )  # fmt: skip

    def by_blocks(self, factors: Factors, start: Factors, size: int) -> NDArray[np.float64]:
        """One Newton step on each block of `size` coordinates in turn, from `start`: (n, D)."""
        gram = gramian(factors, self.n_jobs)
        found = start.astype(np.float64)
        found[np.diff(self.matrix.indptr) == 0] = 0
        scores = score_entries(self.matrix, found, factors, self.n_jobs)
        for low in range(0, factors.shape[1], size):
            block = slice(low, low + size)
            linear = -self.share * found @ gram[:, block] - self.penalty[:, None] * found[:, block]
            step = solve_rows(
                self.matrix, self.extra, self.target - self.extra * scores, self.share * gram[block, block],
                self.penalty, factors[:, block], self.n_jobs, linear,
            )  # fmt: skip
            found[:, block] += step
            scores += score_entries(self.matrix, step, factors[:, block], self.n_jobs)
        return found

    def value(self, found: Factors, factors: Factors) -> float:
        """What is minimized, with the constant that makes an entry's part weight (1 - score)^2: exact, by the Gramian."""
        scores = score_entries(self.matrix, found, factors, self.n_jobs)
        every = self.share * float((gramian(found, self.n_jobs) * gramian(factors, self.n_jobs)).sum())
        seen = float(
            np.dot(self.extra, scores**2) - 2 * np.dot(self.target, scores) + self.target.sum(dtype=np.float64)
        )
        return every + seen + penalty_of(found, self.penalty)


def penalty_of(vectors: Factors, penalty: NDArray[np.float32]) -> float:
    """Sum of penalty |x|^2 over rows."""
    return float(np.einsum("n,nd,nd->", penalty, vectors, vectors, dtype=np.float64))


def gramian(vectors: NDArray[np.floating], n_jobs: int = -1) -> NDArray[np.float64]:
    """V'V (D, D) in float64, from a bounded number of rows at a time."""
    dim, n_parts = vectors.shape[1], -(-len(vectors) // ROWS)
    total = np.zeros((dim, dim))
    for first in range(0, n_parts, WAVE):
        parts = np.empty((min(WAVE, n_parts - first), dim, dim))

        def add(start: int, stop: int, first: int = first, parts: NDArray[np.float64] = parts) -> None:
            for part in range(start, stop):
                rows = vectors[(first + part) * ROWS : (first + part + 1) * ROWS].astype(np.float64)
                np.matmul(rows.T, rows, out=parts[part])

        with one_blas_thread():
            over_rows(add, len(parts), n_jobs)
        total += parts.sum(0)
    return total


def principal_axes(vectors: Factors, n_jobs: int = -1) -> tuple[NDArray[np.float64], Factors]:
    """Eigenvalues (D,) of V'V, and the rotation (D, D) that makes it diagonal."""
    gram = gramian(vectors, n_jobs)
    with one_blas_thread():
        curvature, axes = np.linalg.eigh(gram)
    return np.maximum(curvature, 0), axes.astype(np.float32)


def rotated(vectors: Factors, axes: Factors, n_jobs: int = -1) -> Factors:
    """Vectors (n, D) in other axes (D, D)."""
    out = np.empty_like(vectors)

    def turn(start: int, stop: int) -> None:
        for first in range(start * ROWS, min(stop * ROWS, len(vectors)), ROWS):
            np.matmul(vectors[first : first + ROWS], axes, out=out[first : first + ROWS])

    with one_blas_thread():
        over_rows(turn, -(-len(vectors) // ROWS), n_jobs)
    return out
