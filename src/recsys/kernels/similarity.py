"""Similarity of the rows of a sparse matrix, a row at a time: never a dense n x n matrix.

A row's products with others are accumulated over the columns it has entries in, so the cost is the sum over those
columns of their lengths: rows that share no column with it are never looked at. "Overlap" measures read whole rows;
"corated" measures read only the columns that both rows have.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.errors import ParameterError
from recsys.kernels.parallel import over_rows
from recsys.kernels.topk import LAYOUT, sift_down, sort_heaps

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

    def turned(self) -> "Measure":
        """The measure with its two rows exchanged: "asymmetric" and "tversky" tell the query from what it is compared with."""
        if self.kind == OVERLAP["asymmetric"]:
            return replace(self, alpha=1 - self.alpha)
        return replace(self, alpha=self.beta, beta=self.alpha)

    def numbers(self) -> NDArray[np.float64]:
        """The measure as the kernels take it."""
        parts = (self.kind, self.shrinkage, self.significance, self.min_support, self.alpha, self.beta)
        return np.array(parts, np.float64)


@njit(cache=True, nogil=True)
def _similar_rows(
    columns, values, indptr, rows, data, norms, counts, measure, sums, touched, similarity
):  # pragma: no cover  # fmt: skip
    """Similarities of one row, given by its columns and values, to those that it shares columns with.

    The matrix is given by columns. The rows go to `touched`, their number is returned; `similarity` (n,) changes at
    these alone. `sums` are zeros before and after.
    """
    corated = sums.shape[1] > 2
    norm, found = 0.0, 0
    for c in range(len(columns)):
        x = values[c]
        norm += x * x
        for at in range(indptr[columns[c]], indptr[columns[c] + 1]):
            j, y = rows[at], data[at]
            if sums[j, 0] == 0.0:
                touched[found] = j
                found += 1
            sums[j, 0] += 1.0
            sums[j, 1] += x * y
            if corated:
                sums[j, 2] += x * x
                sums[j, 3] += y * y
                sums[j, 4] += x
                sums[j, 5] += y
    for place in range(found):
        j = touched[place]
        if corated:
            similarity[j] = _corated(sums[j], measure)
        else:
            similarity[j] = _overlap(sums[j, 0], sums[j, 1], norm, norms[j], len(columns), counts[j], measure)
        sums[j] = 0.0
    return found


@njit(cache=True, nogil=True)
def _overlap(n, xy, norm, other_norm, count, other_count, measure):  # pragma: no cover
    """Similarity of two rows from n common columns, the sum of products there, and each row's norm and count."""
    if n < measure[3]:
        return 0.0
    kind = measure[0]
    if kind == 0:
        d = np.sqrt(norm * other_norm)
    elif kind == 1:
        d = norm ** measure[4] * other_norm ** (1.0 - measure[4])
    elif kind == 2:
        d = count + other_count - n
    elif kind == 3:
        d = 0.5 * (count + other_count)
    else:
        d = n + measure[4] * (count - n) + measure[5] * (other_count - n)
    top = xy if kind < 2 else n
    d += measure[1]
    return top / d * _significance(n, measure) if d > 0 else 0.0


@njit(cache=True, nogil=True)
def _corated(sums, measure):  # pragma: no cover
    """Similarity of two rows from sums over their common columns: n, xy, x x, y y, x, y."""
    n, xy, xx, yy = sums[0], sums[1], sums[2], sums[3]
    # Rounding leaves a variance of 0 a little off it.
    flat_x, flat_y = 1e-12 * xx, 1e-12 * yy
    if n < measure[3]:
        return 0.0
    if measure[0] == 11:
        xy -= sums[4] * sums[5] / n
        xx -= sums[4] ** 2 / n
        yy -= sums[5] ** 2 / n
    s = 0.0
    if measure[0] == 12:
        s = 1.0 / ((xx + yy - 2.0 * xy) / n + 1.0)
    elif xx > flat_x and yy > flat_y:
        s = xy / np.sqrt(xx * yy)
    return s * n / (n + measure[1]) * _significance(n, measure)


@njit(cache=True, nogil=True)
def _significance(n, measure):  # pragma: no cover
    return min(n, measure[2]) / measure[2] if measure[2] > 0 else 1.0


@njit(cache=True, nogil=True)
def _keep_best(value, code, best, codes, row, k):  # pragma: no cover
    """Offer to a row's heap of k, which starts as zeros: only what is above 0 enters, equal values by smaller code."""
    if value > best[row, 0] or (value == best[row, 0] and code < codes[row, 0]):
        best[row, 0] = value
        codes[row, 0] = code
        sift_down(best, codes, row, k)


@njit(cache=True, nogil=True)
def _top_k_rows(
    start, stop, q_indptr, q_columns, q_data, indptr, rows, data, norms, counts, measure, exclude_self,
    neighbors, values,
):  # pragma: no cover  # fmt: skip
    k = neighbors.shape[1]
    sums = np.zeros((len(norms), 6 if measure[0] >= 10 else 2))
    similarity, touched = np.zeros(len(norms)), np.empty(len(norms), np.int64)
    for i in range(start, stop):
        a, b = q_indptr[i], q_indptr[i + 1]
        found = _similar_rows(
            q_columns[a:b], q_data[a:b], indptr, rows, data, norms, counts, measure, sums, touched, similarity
        )
        for place in range(found):
            j = touched[place]
            if not (exclude_self and j == i):
                _keep_best(np.float32(similarity[j]), j, values, neighbors, i, k)
    sort_heaps(neighbors[start:stop], values[start:stop], stop - start, k)


@njit(cache=True, nogil=True)
def _predict_rows(
    start, stop, q_indptr, q_columns, q_data, q_self, indptr, rows, data, norms, counts, measure,
    pair_indptr, pair_other, o_indptr, o_rows, o_values, k, min_k, opposite, out,
):  # pragma: no cover  # fmt: skip
    sums = np.zeros((len(norms), 6 if measure[0] >= 10 else 2))
    similarity, touched = np.zeros(len(norms)), np.empty(len(norms), np.int64)
    best, near = np.zeros((1, k), np.float32), np.full((1, k), -1, np.int64)
    heap = np.int64(0)  # A literal 0 would be a type of its own, and the heap would be compiled for it once more.
    for i in range(start, stop):
        if pair_indptr[i] == pair_indptr[i + 1]:
            continue
        a, b = q_indptr[i], q_indptr[i + 1]
        found = _similar_rows(
            q_columns[a:b], q_data[a:b], indptr, rows, data, norms, counts, measure, sums, touched, similarity
        )
        if q_self[i] >= 0:
            similarity[q_self[i]] = 0.0
        for pair in range(pair_indptr[i], pair_indptr[i + 1]):
            other = pair_other[pair]
            best[:] = 0.0
            near[:] = -1
            for at in range(o_indptr[other], o_indptr[other + 1]):
                strength = abs(similarity[o_rows[at]]) if opposite else similarity[o_rows[at]]
                _keep_best(np.float32(strength), at, best, near, heap, k)
            total, weight, size = 0.0, 0.0, 0
            for n in range(k):
                if near[0, n] >= 0:
                    sign = 1.0 if similarity[o_rows[near[0, n]]] > 0 else -1.0
                    total += sign * best[0, n] * o_values[near[0, n]]
                    weight += best[0, n]
                    size += 1
            out[pair] = total / weight if size >= min_k and size > 0 else np.nan
        for place in range(found):
            similarity[touched[place]] = 0.0


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

    With `exclude_self` query row i is row i of the matrix and is no neighbor of itself. Memory is a few numbers a row
    of the matrix, for each thread.
    """
    if k < 1:
        raise ParameterError(f"k must be at least 1, got {k}")
    n = queries.shape[0]
    neighbors = np.full((n, k), -1, np.int64)
    values = np.zeros((n, k), np.float32)
    parts = _parts(queries)
    numbers = measure.numbers()

    def work(start: int, stop: int) -> None:
        _top_k_rows(
            start, stop, *parts, rows.indptr, rows.rows, rows.data, rows.norms, rows.counts, numbers,
            exclude_self, neighbors, values,
        )  # fmt: skip

    over_rows(work, n, n_jobs, np.diff(queries.indptr))
    return neighbors, values


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
    *,
    opposite: bool = False,
) -> NDArray[np.float64]:
    """Weighted means of neighbors' values: for each pair (query row, other) over the k nearest rows that `others` lists.

    Row o of `others` holds (row, value) entries; `own` (Q,) is a query's own row, which is no neighbor, or -1. The
    pairs of query q are `pair_other[pair_indptr[q]:pair_indptr[q + 1]]`. Fewer than `min_k` neighbors with a positive
    similarity give NaN. With `opposite`, sum s x / sum |s| over the k rows with the largest |s|: negative ones pull the
    other way.
    """
    if k < 1:
        raise ParameterError(f"k must be at least 1, got {k}")
    out = np.full(len(pair_other), np.nan)
    parts, lists, numbers = _parts(queries), _parts(others), measure.numbers()
    # In one layout, for which the kernel is compiled once.
    own, pair_indptr, pair_other = (np.require(part, np.int64, LAYOUT) for part in (own, pair_indptr, pair_other))

    def work(start: int, stop: int) -> None:
        _predict_rows(
            start, stop, *parts, own, rows.indptr, rows.rows, rows.data, rows.norms, rows.counts, numbers,
            pair_indptr, pair_other, *lists, k, min_k, opposite, out,
        )  # fmt: skip

    over_rows(work, queries.shape[0], n_jobs, np.diff(pair_indptr))
    return out
