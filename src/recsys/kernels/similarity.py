"""Similarity of the rows of a sparse matrix, a row at a time: never a dense n x n matrix.

A row's products with all others are accumulated over the columns it has entries in, so the cost is the sum over those
columns of their lengths. "Overlap" measures read whole rows; "corated" measures read only the columns that both rows
have.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.kernels.parallel import over_rows

OVERLAP: Mapping[str, int] = {"cosine": 0, "asymmetric": 1, "jaccard": 2, "dice": 3, "tversky": 4}
CORATED: Mapping[str, int] = {"corated_cosine": 10, "corated_pearson": 11, "msd": 12, "corated_jaccard": 2}


@dataclass(frozen=True)
class Measure:
    """A similarity and how it is damped.

    Overlap measures divide by their denominator + `shrinkage`; co-rated ones are multiplied by n / (n + `shrinkage`).
    `significance` g > 0 multiplies by min(n, g) / g. Fewer than `min_support` common columns, or a zero denominator,
    give 0.
    """

    kind: int
    shrinkage: float = 0.0
    significance: float = 0.0
    min_support: int = 1
    alpha: float = 0.5
    beta: float = 0.5

    def numbers(self) -> NDArray[np.float64]:
        """The measure as the kernels take it."""
        parts = (self.kind, self.shrinkage, self.significance, self.min_support, self.alpha, self.beta)
        return np.array(parts, np.float64)


@njit(cache=True, nogil=True)
def _similarity_row(
    columns, values, indptr, rows, data, norms, counts, norm, measure, sums, similarity
):  # pragma: no cover
    """Similarity (n,) of one row, given by its columns and values, to all rows; the matrix is given by columns."""
    sums[:] = 0.0
    for c in range(len(columns)):
        x = values[c]
        for at in range(indptr[columns[c]], indptr[columns[c] + 1]):
            s = sums[rows[at]]
            y = data[at]
            s[0] += 1.0
            s[1] += x * y
            if measure[0] >= 10:
                s[2] += x * x
                s[3] += y * y
                s[4] += x
                s[5] += y
    kind = int(measure[0])
    own = len(columns)
    for j in range(len(similarity)):
        n, xy = sums[j, 0], sums[j, 1]
        similarity[j] = 0.0
        if n < measure[3]:
            continue
        if kind < 10:
            if kind == 0:
                d = np.sqrt(norm * norms[j])
            elif kind == 1:
                d = norm ** measure[4] * norms[j] ** (1.0 - measure[4])
            elif kind == 2:
                d = own + counts[j] - n
            elif kind == 3:
                d = 0.5 * (own + counts[j])
            else:
                d = n + measure[4] * (own - n) + measure[5] * (counts[j] - n)
            top = xy if kind < 2 else n
            d += measure[1]
            s = top / d if d > 0 else 0.0
        else:
            xx, yy = sums[j, 2], sums[j, 3]
            if kind == 11:
                xy -= sums[j, 4] * sums[j, 5] / n
                xx -= sums[j, 4] ** 2 / n
                yy -= sums[j, 5] ** 2 / n
            if kind == 12:
                s = 1.0 / ((xx + yy - 2.0 * xy) / n + 1.0)
            else:
                # Rounding leaves a variance of 0 a little off it.
                d = xx * yy
                s = xy / np.sqrt(d) if xx > 1e-9 and yy > 1e-9 else 0.0
            s *= n / (n + measure[1])
        if measure[2] > 0:
            s *= min(n, measure[2]) / measure[2]
        similarity[j] = s


@njit(cache=True, nogil=True)
def _keep_best(value, code, best, codes, size, k):  # pragma: no cover
    """Insert into a descending list of at most k; equal values keep the order in which they come."""
    if size == k and value <= best[k - 1]:
        return size
    at = size if size < k else k - 1
    while at > 0 and best[at - 1] < value:
        best[at] = best[at - 1]
        codes[at] = codes[at - 1]
        at -= 1
    best[at] = value
    codes[at] = code
    return size + 1 if size < k else size


@njit(cache=True, nogil=True)
def _top_k_rows(
    start,
    stop,
    q_indptr,
    q_columns,
    q_data,
    indptr,
    rows,
    data,
    norms,
    counts,
    measure,
    exclude_self,
    neighbors,
    values,
):  # pragma: no cover
    k = neighbors.shape[1]
    sums = np.zeros((len(norms), 6))
    similarity = np.zeros(len(norms))
    for i in range(start, stop):
        a, b = q_indptr[i], q_indptr[i + 1]
        norm = 0.0
        for at in range(a, b):
            norm += q_data[at] * q_data[at]
        _similarity_row(q_columns[a:b], q_data[a:b], indptr, rows, data, norms, counts, norm, measure, sums, similarity)
        size = 0
        for j in range(len(similarity)):
            if similarity[j] > 0 and not (exclude_self and j == i):
                size = _keep_best(similarity[j], j, values[i], neighbors[i], size, k)


@njit(cache=True, nogil=True)
def _predict_rows(
    start, stop, q_indptr, q_columns, q_data, q_self, indptr, rows, data, norms, counts, measure,
    pair_indptr, pair_other, o_indptr, o_rows, o_values, k, min_k, out,
):  # pragma: no cover  # fmt: skip
    sums = np.zeros((len(norms), 6))
    similarity = np.zeros(len(norms))
    best, near = np.zeros(k), np.zeros(k, np.int64)
    for i in range(start, stop):
        if pair_indptr[i] == pair_indptr[i + 1]:
            continue
        a, b = q_indptr[i], q_indptr[i + 1]
        norm = 0.0
        for at in range(a, b):
            norm += q_data[at] * q_data[at]
        _similarity_row(q_columns[a:b], q_data[a:b], indptr, rows, data, norms, counts, norm, measure, sums, similarity)
        for pair in range(pair_indptr[i], pair_indptr[i + 1]):
            other = pair_other[pair]
            size = 0
            for at in range(o_indptr[other], o_indptr[other + 1]):
                s = similarity[o_rows[at]]
                if s > 0 and o_rows[at] != q_self[i]:
                    size = _keep_best(s, at, best, near, size, k)
            total, weight = 0.0, 0.0
            for n in range(size):
                total += best[n] * o_values[near[n]]
                weight += best[n]
            out[pair] = total / weight if size >= min_k and weight > 0 else np.nan


@dataclass(frozen=True)
class Rows:
    """A matrix whose rows are compared, by columns, with what the measures need of each row."""

    indptr: NDArray[np.int64]
    rows: NDArray[np.int64]
    data: NDArray[np.float64]
    norms: NDArray[np.float64]
    counts: NDArray[np.float64]

    @classmethod
    def of(cls, matrix: Any) -> "Rows":
        """From a CSR matrix (n, m)."""
        columns = matrix.tocsc()
        columns.sort_indices()
        norms = np.asarray(matrix.multiply(matrix).sum(1), np.float64).ravel()
        counts = np.diff(matrix.indptr).astype(np.float64)
        return cls(*_parts(columns), norms, counts)


def _parts(matrix: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data.astype(np.float64)


def top_k_similar(
    queries: Any, rows: Rows, k: int, measure: Measure, *, exclude_self: bool = True, n_jobs: int = -1
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k rows most similar to each query row: codes (Q, k) padded with -1 and positive similarities (Q, k), ties by code.

    With `exclude_self` query row i is row i of the matrix and is no neighbor of itself. Memory is one row a thread.
    """
    n = queries.shape[0]
    neighbors = np.full((n, k), -1, np.int64)
    values = np.zeros((n, k))
    parts = _parts(queries)
    numbers = measure.numbers()

    def work(start: int, stop: int) -> None:
        _top_k_rows(
            start, stop, *parts, rows.indptr, rows.rows, rows.data, rows.norms, rows.counts, numbers,
            exclude_self, neighbors, values,
        )  # fmt: skip

    over_rows(work, n, n_jobs, np.diff(queries.indptr))
    return neighbors, values.astype(np.float32)


def predict_pairs(
    queries: Any,
    own: NDArray[np.int64],
    rows: Rows,
    pair_indptr: NDArray[np.int64],
    pair_other: NDArray[np.int64],
    others: Any,
    k: int,
    min_k: int,
    measure: Measure,
    n_jobs: int = -1,
) -> NDArray[np.float64]:
    """Weighted means of neighbors' values: for each pair (query row, other) over the k nearest rows that `others` lists.

    Row o of `others` holds (row, value) entries; `own` (Q,) is a query's own row, which is no neighbor, or -1. The
    pairs of query q are `pair_other[pair_indptr[q]:pair_indptr[q + 1]]`. Fewer than `min_k` neighbors with a positive
    similarity give
    NaN.
    """
    out = np.full(len(pair_other), np.nan)
    parts, lists, numbers = _parts(queries), _parts(others), measure.numbers()

    def work(start: int, stop: int) -> None:
        _predict_rows(
            start, stop, *parts, own, rows.indptr, rows.rows, rows.data, rows.norms, rows.counts, numbers,
            pair_indptr, pair_other, *lists, k, min_k, out,
        )  # fmt: skip

    over_rows(work, queries.shape[0], n_jobs, np.diff(pair_indptr))
    return out
