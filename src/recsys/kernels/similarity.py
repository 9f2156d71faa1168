"""Similarity of the rows of a sparse matrix, a row at a time: never a dense n x n matrix.

A row's products with others are summed over the columns it has entries in, so the cost is the sum over those columns of
their lengths: rows that share no column with it are never looked at.
"""

# pyright: reportMissingParameterType=false
# Numba infers what the kernels take.

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numba import njit
from numpy.typing import NDArray

from recsys.errors import ParameterError
from recsys.kernels.measures import FIRST_CORATED, MSD, PEARSON, Measure, Others, Rows, parts_of, sides
from recsys.kernels.parallel import over_rows
from recsys.kernels.strongest import LAST, SHELVES, strongest, unpacked
from recsys.kernels.topk import LAYOUT

SMALLEST = np.finfo(np.float64).tiny
BLOCK = 512
"""Rows whose lists are sorted at a time."""


class _Scratch(NamedTuple):
    """What a thread works in: the sums of all rows, the rows met and their similarities, and room to pick k of them."""

    sums: NDArray[np.float64]
    touched: NDArray[np.int32]
    similarity: NDArray[np.float32]
    bits: NDArray[np.int32]
    shelves: NDArray[np.int32]
    keys: NDArray[np.int64]
    ties: NDArray[np.int64]

    @classmethod
    def of(cls, others: Others, k: int = 1) -> "_Scratch":
        n = len(others.scale)
        similarity = np.empty(n, np.float32)
        shelves, keys = np.zeros(SHELVES, np.int32), np.empty(k + 1, np.int64)
        sums, touched, ties = np.zeros((n, others.n_sums)), np.empty(n + 1, np.int32), np.empty(n + 1, np.int64)
        return cls(sums, touched, similarity, similarity.view(np.int32), shelves, keys, ties)


@njit(cache=True, nogil=True, error_model="numpy")
def _count_common(columns, others, most, sums, touched):  # pragma: no cover
    """Add to sums (n, 1) how many of the columns each row has; the rows go to `touched`, their number is returned."""
    found = 0
    if most:
        # Where most rows are met, looking through all of them costs less than noting each one.
        for c in columns:
            for at in range(others.indptr[c], others.indptr[c + 1]):
                sums[others.rows[at], 0] += 1.0
        for j in range(len(sums)):
            touched[found] = j
            found += sums[j, 0] > 0.0
        return found
    for c in columns:
        for at in range(others.indptr[c], others.indptr[c + 1]):
            j = others.rows[at]
            # Every row is written down, and its place kept where it is new: no branch to be guessed wrong.
            touched[found] = j
            found += sums[j, 0] == 0.0
            sums[j, 0] += 1.0
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_common(columns, values, others, sums, touched):  # pragma: no cover
    """Add to sums (n, S) the number of common columns, and over them x y or (x - y)^2, x x, y y, x and y, the first S."""
    found, size = 0, sums.shape[1]
    distance = others.kind >= MSD
    for c in range(len(columns)):
        x = values[c]
        for at in range(others.indptr[columns[c]], others.indptr[columns[c] + 1]):
            j, y = others.rows[at], others.data[at]
            touched[found] = j
            found += sums[j, 0] == 0.0
            sums[j, 0] += 1.0
            sums[j, 1] += (x - y) * (x - y) if distance else x * y
            if size > 2:
                sums[j, 2] += x * x
                sums[j, 3] += y * y
            if size > 4:
                sums[j, 4] += x
                sums[j, 5] += y
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _similar_rows(i, queries, others, sums, touched, similarity):  # pragma: no cover
    """Similarities of query row i to the rows that it shares columns with; its own gets 0.

    The rows go to touched[:found] and their similarities to similarity[:found]; `found` is returned. `sums` (n, S) are
    zeros before and after.
    """
    a, b, size = queries.indptr[i], queries.indptr[i + 1], sums.shape[1]
    columns = queries.columns[a:b]
    if size == 1:
        found = _count_common(columns, others, queries.cost[i] > len(sums), sums, touched)
    else:
        found = _sum_common(columns, queries.data[a:b], others, sums, touched)
    scale, term, own = queries.scale[i], queries.term[i], queries.own[i]
    if own >= 0:
        sums[own] = 0.0
    if others.kind < FIRST_CORATED:
        for place in range(found):
            j = touched[place]
            # A row that is nothing but zeros has no length: its product is 0 too, and so is the similarity.
            similarity[place] = sums[j, size - 1] / max(
                scale * others.scale[j] + term + others.excess * sums[j, 0], SMALLEST
            )
    else:
        for place in range(found):
            similarity[place] = _corated(sums, touched[place], others)
    if others.min_support > 1 or others.significance > 0.0:
        for place in range(found):
            similarity[place] *= _support(sums[touched[place], 0], others)
    for place in range(found):
        for number in range(size):
            sums[touched[place], number] = 0.0
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _corated(sums, j, others):  # pragma: no cover
    """Similarity by common columns alone, from what `_sum_common` has summed over them."""
    n, xy = sums[j, 0], sums[j, 1]
    if n == 0.0:
        return 0.0
    damped = n / (n + others.shrinkage)
    if others.kind == MSD:
        return damped / (1.0 + xy / n)
    if others.kind > MSD:
        return damped / (1.0 + np.sqrt(xy))
    xx, yy = sums[j, 2], sums[j, 3]
    # Rounding leaves a variance of 0 a little off it.
    flat_x, flat_y = 1e-12 * xx, 1e-12 * yy
    if others.kind == PEARSON:
        x, y = sums[j, 4], sums[j, 5]
        xy -= x * y / n
        xx -= x * x / n
        yy -= y * y / n
    return damped * xy / np.sqrt(xx * yy) if xx > flat_x and yy > flat_y else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _support(n, others):  # pragma: no cover
    """What n common columns leave of a similarity."""
    if n < others.min_support:
        return 0.0
    return min(n, others.significance) / others.significance if others.significance > 0.0 else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _top_k_rows(start, stop, queries, others, scratch, best):  # pragma: no cover
    sums, touched, similarity, bits, shelves, keys, ties = scratch
    for i in range(start, stop):
        found = _similar_rows(i, queries, others, sums, touched, similarity)
        m = strongest(bits, touched, found, best.shape[1], shelves, keys, ties)
        for place in range(m):
            best[i - start, place] = keys[place]


@njit(cache=True, nogil=True, error_model="numpy")
def _table_rows(start, stop, queries, others, scratch, table):  # pragma: no cover
    for i in range(start, stop):
        found = _similar_rows(i, queries, others, scratch.sums, scratch.touched, scratch.similarity)
        for place in range(found):
            table[i, scratch.touched[place]] = scratch.similarity[place]


@njit(cache=True, nogil=True, error_model="numpy")
def _predict_rows(
    start, stop, queries, others, scratch, table, pair_indptr, pair_list, indptr, rows, values, k, min_k, opposite, out
):  # pragma: no cover  # fmt: skip
    sums, touched, similarity, bits, shelves, keys, ties = scratch
    for i in range(start, stop):
        if pair_indptr[i] == pair_indptr[i + 1]:
            continue
        found = _similar_rows(i, queries, others, sums, touched, similarity)
        for place in range(found):
            table[touched[place]] = similarity[place]
        met = touched[:found].copy()
        for pair in range(pair_indptr[i], pair_indptr[i + 1]):
            first, last = indptr[pair_list[pair]], indptr[pair_list[pair] + 1]
            size = np.int64(0)  # a literal 0 is a type of its own
            for at in range(first, last):
                s = table[rows[at]]
                touched[size] = at - first
                similarity[size] = abs(s) if opposite else s
                size += similarity[size] > 0.0
            m = strongest(bits, touched, size, k, shelves, keys, ties)
            total, weight = 0.0, 0.0
            for key in keys[:m]:
                at = first + (LAST - (key & LAST))
                s = table[rows[at]]
                total += s * values[at]
                weight += abs(s)
            out[pair] = total / weight if m >= min_k and m > 0 else np.nan
        for j in met:
            table[j] = 0.0


def top_k_similar(
    queries: Any, rows: Rows, k: int, measure: Measure, *, own: NDArray[np.int64] | None = None, n_jobs: int = -1
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k rows most similar to each query row: codes (Q, k) padded with -1 and positive similarities (Q, k), ties by code.

    `own` (Q,) is a query's own row, which is no neighbor, or -1; without it query row i is row i of the matrix. Memory
    is a few numbers a row of the matrix, for each thread.
    """
    if k < 1:
        raise ParameterError(f"k must be at least 1, got {k}")
    n = queries.shape[0]
    near, values = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    asked, others = sides(queries, own, rows, measure)

    def work(start: int, stop: int) -> None:
        scratch = _Scratch.of(others, k)
        # In blocks whose keys stay in the cache.
        for low in range(start, stop, BLOCK):
            high = min(low + BLOCK, stop)
            best = np.zeros((high - low, k), np.int64)
            _top_k_rows(low, high, asked, others, scratch, best)
            near[low:high], values[low:high] = unpacked(best)

    over_rows(work, n, n_jobs, asked.cost)
    return near, values


@njit(cache=True, nogil=True)
def _count(near, indptr):  # pragma: no cover
    """Add to indptr[r + 1] how many lists name row r."""
    for q in range(near.shape[0]):
        for r in near[q]:
            if r >= 0:
                indptr[r + 1] += 1


@njit(cache=True, nogil=True)
def _turn(near, values, at, indices, data):  # pragma: no cover
    """Write the entries of every list behind those of the row they name, which start at at[r]."""
    for q in range(near.shape[0]):
        for n in range(near.shape[1]):
            r = near[q, n]
            if r >= 0:
                indices[at[r]], data[at[r]] = q, values[q, n]
                at[r] += 1


def turned(near: NDArray[np.int32], values: NDArray[np.float32], n_rows: int) -> Any:
    """Lists (Q, k) of rows, padded with -1, and their values, from the side of the rows: CSR (n_rows, Q), sorted."""
    indptr = np.zeros(n_rows + 1, np.int64)
    _count(near, indptr)
    np.cumsum(indptr, out=indptr)
    indices, data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
    _turn(near, values, indptr[:-1].copy(), indices, data)
    return sp.csr_matrix((data, indices, indptr), shape=(n_rows, len(near)))


def similarity_table(queries: Any, rows: Rows, measure: Measure, *, n_jobs: int = -1) -> NDArray[np.float32]:
    """Similarity of each query row to all rows, (Q, n), negative ones too."""
    table = np.zeros((queries.shape[0], len(rows.counts)), np.float32)
    asked, others = sides(queries, np.full(len(table), -1), rows, measure)

    def work(start: int, stop: int) -> None:
        _table_rows(start, stop, asked, others, _Scratch.of(others), table)

    over_rows(work, len(table), n_jobs, asked.cost)
    return table


def predict_pairs(
    queries: Any,
    own: NDArray[np.int64],
    rows: Rows,
    pair_indptr: NDArray[np.int64],
    pair_other: NDArray[np.int64],
    lists: Any,
    k: int,
    min_k: int,
    measure: Measure,
    n_jobs: int = -1,
    *,
    opposite: bool = False,
) -> NDArray[np.float64]:
    """Weighted means of neighbors' values: for each pair (query row, other) over the k nearest rows that `lists` has for it.

    Row o of `lists` holds (row, value) entries; `own` (Q,) is a query's own row, which is no neighbor, or -1. The
    pairs of query q are `pair_other[pair_indptr[q]:pair_indptr[q + 1]]`. Fewer than `min_k` neighbors with a positive
    similarity give NaN. With `opposite`, sum s x / sum |s| over the k rows with the largest |s|: negative ones pull the
    other way.
    """
    if k < 1:
        raise ParameterError(f"k must be at least 1, got {k}")
    k = min(k, len(rows.counts))
    out = np.full(len(pair_other), np.nan)
    asked, others = sides(queries, own, rows, measure)
    # In one layout, for which the kernel is compiled once.
    pairs = [np.require(part, np.int64, LAYOUT) for part in (pair_indptr, pair_other)]
    lists = parts_of(lists)

    def work(start: int, stop: int) -> None:
        scratch, table = _Scratch.of(others, k), np.zeros(len(others.scale), np.float32)
        _predict_rows(start, stop, asked, others, scratch, table, *pairs, *lists, k, min_k, opposite, out)

    over_rows(work, queries.shape[0], n_jobs, asked.cost)
    return out
