"""Products of sparse matrices, histories times weights first of all: all scores, those of some pairs, or the k best alone.

score(b, j) = sum over the entries i of row b of given_bi W_ij, summed in float32 in the order of the row: a score is
bitwise the same whichever function makes it, for any number of threads and any batch.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.errors import DataError, ParameterError
from recsys.kernels.parallel import over_rows
from recsys.kernels.tile import CHUNK, any_above
from recsys.kernels.topk import LAYOUT, Lists, empty_lists, offer, place_of, sort_heaps

BLOCK = 1024
"""Sums that are marked as changed together: with fewer the marks are too many to guess, with more there is too much to
look through."""
SHIFT = np.uintp(BLOCK.bit_length() - 1)
CHUNKS = BLOCK // CHUNK


@njit(cache=True, nogil=True)
def add_rows(columns, values, indptr, indices, data, place, sums, dirty):  # pragma: no cover
    """Add values @ W[columns] to `sums`, of which item j has entry place[j], or none where that is -1.

    A block of 1,024 sums that changes is marked in `dirty`. An empty `place` is that of all items in their order.
    """
    for c in range(len(columns)):
        x = values[c]
        # Of signed places and items the sign would be looked at.
        first, stop = np.uintp(indptr[columns[c]]), np.uintp(indptr[columns[c] + 1])
        if len(place) == 0 and len(dirty) == 0:
            for at in range(first, stop):
                j = np.uintp(indices[at])
                sums[j] += x * data[at]
        elif len(place) == 0:
            for at in range(first, stop):
                j = np.uintp(indices[at])
                sums[j] += x * data[at]
                dirty[j >> SHIFT] = True
        else:
            for at in range(first, stop):
                j = place[indices[at]]
                if j >= 0:
                    sums[j] += x * data[at]
                    dirty[j // BLOCK] = True


@njit(cache=True, nogil=True)
def _rank_rows(
    start, stop, h_indptr, h_columns, h_values, indptr, indices, data, place, n_places,
    seen_indptr, seen_items, best_items, best_scores, width,
):  # pragma: no cover  # fmt: skip
    n_blocks = -(-n_places // BLOCK)
    chunks, dirty = np.zeros((n_blocks * CHUNKS, CHUNK), np.float32), np.zeros(n_blocks, np.bool_)
    sums = chunks.ravel()
    one = np.int64(1)  # A literal 1 would be a type of its own, and what it is given to would be compiled once more.
    for row in range(start, stop):
        a, b = h_indptr[row], h_indptr[row + 1]
        products = 0
        for column in h_columns[a:b]:
            products += indptr[column + 1] - indptr[column]
        if len(place) == 0 and products > 8 * n_blocks:
            dirty[:] = True
            add_rows(h_columns[a:b], h_values[a:b], indptr, indices, data, place, sums, dirty[:0])
        else:
            add_rows(h_columns[a:b], h_values[a:b], indptr, indices, data, place, sums, dirty)
        seen_at, seen_end = seen_indptr[row : row + 1].copy(), seen_indptr[row + 1 : row + 2]
        items, scores = best_items[row : row + 1], best_scores[row : row + 1]
        worst = scores[0, 0]
        for block in range(n_blocks):
            # What nothing was added to scores 0: it matters while the list is short or holds something negative.
            if not (dirty[block] or worst < 0.0):
                continue
            for c in range(block * CHUNKS, (block + 1) * CHUNKS):
                if any_above(chunks, c, 0, worst):
                    n = min(CHUNK, n_places - c * CHUNK)
                    offer(chunks[c : c + 1], one, c * CHUNK, n, seen_at, seen_end, seen_items, items, scores, width)
                    worst = scores[0, 0]
            if dirty[block]:
                chunks[block * CHUNKS : (block + 1) * CHUNKS] = 0.0
                dirty[block] = False
        sort_heaps(items, scores, one, width)


@njit(cache=True, nogil=True)
def _score_rows(start, stop, h_indptr, h_columns, h_values, indptr, indices, data, out):  # pragma: no cover
    dirty = np.zeros(-(-out.shape[1] // BLOCK), np.bool_)
    everything = np.empty(0, np.int64)
    for row in range(start, stop):
        a, b = h_indptr[row], h_indptr[row + 1]
        add_rows(h_columns[a:b], h_values[a:b], indptr, indices, data, everything, out[row], dirty)


@njit(cache=True, nogil=True)
def _score_pairs(
    start, stop, h_indptr, h_columns, h_values, indptr, indices, data, rows, items, out
):  # pragma: no cover
    for pair in range(start, stop):
        row, item, total = rows[pair], items[pair], np.float32(0.0)
        for h in range(h_indptr[row], h_indptr[row + 1]):
            end = indptr[h_columns[h] + 1]
            at = place_of(indices, indptr[h_columns[h]], end, item)
            if at < end and indices[at] == item:
                total += h_values[h] * data[at]
        out[pair] = total


def rank_history(
    given: Any, weights: Any, k: int, allowed: NDArray[np.int64] | None = None, seen: Any = None, n_jobs: int = -1
) -> Lists:
    """The k best items of each row of given @ weights: codes (B, k) padded with -1, scores (B, k) padded with -inf.

    `given` (B, J) and `weights` (J, I) are CSR matrices; for histories J is I. With `allowed` (A,), ascending, codes are
    positions among these items, and so are the columns of `seen` (`indptr` and sorted `indices` as of a CSR matrix (B, A)),
    whose entries are left out. Equal scores go by smaller code; an item that no weight leads to scores 0. Time is the number of
    products plus a 32nd of the catalog for each row; memory is 4 bytes an item, for each thread.
    """
    if k < 0:
        raise ParameterError(f"k must be at least 0, got {k}")
    parts = csr_parts(given, weights)
    n_rows, n_items = given.shape[0], weights.shape[1]
    place = np.empty(0, np.int64)
    if allowed is not None:
        place = np.full(n_items, -1)
        place[allowed] = np.arange(len(allowed))
    n_places = n_items if allowed is None else len(allowed)
    seen_indptr = np.zeros(n_rows + 1, np.int64) if seen is None else np.require(seen.indptr, np.int64, LAYOUT)
    seen_items = np.empty(0, np.int32) if seen is None else np.require(seen.indices, np.int32, LAYOUT)
    items, scores = empty_lists(n_rows, k)
    width = min(k, n_places)

    def rank(start: int, stop: int) -> None:
        _rank_rows(start, stop, *parts, place, n_places, seen_indptr, seen_items, items, scores, width)

    if width and n_rows:
        over_rows(rank, n_rows, n_jobs, np.diff(given.indptr))
    return items, scores


def score_history(given: Any, weights: Any, n_jobs: int = -1) -> NDArray[np.float32]:
    """given @ weights as a dense table (B, I), for CSR matrices (B, J) and (J, I)."""
    parts = csr_parts(given, weights)
    out = np.zeros((given.shape[0], weights.shape[1]), np.float32)
    over_rows(lambda start, stop: _score_rows(start, stop, *parts, out), len(out), n_jobs, np.diff(given.indptr))
    return out


def score_history_pairs(
    given: Any, weights: Any, rows: NDArray[np.int64], items: NDArray[np.int64], n_jobs: int = -1
) -> NDArray[np.float32]:
    """Entries (rows[n], items[n]) of given @ weights, (n,); 0 for item -1.

    The indices of the weights must be sorted: a pair costs one search in the row of each item of the history.
    """
    parts = csr_parts(given, weights)
    out = np.zeros(len(rows), np.float32)
    rows, items = np.require(rows, np.int64, LAYOUT), np.require(items, np.int64, LAYOUT)
    over_rows(lambda start, stop: _score_pairs(start, stop, *parts, rows, items, out), len(out), n_jobs)
    return out


def csr_parts(given: Any, weights: Any) -> list[NDArray[Any]]:
    """Row pointers, columns and values of both matrices, as the kernels take them."""
    if given.shape[1] != weights.shape[0]:
        raise DataError(f"histories of {given.shape[1]} items need as many rows of weights, got {weights.shape}")
    return [
        np.require(part, dtype, LAYOUT)
        for matrix in (given, weights)
        for part, dtype in ((matrix.indptr, np.int64), (matrix.indices, np.int32), (matrix.data, np.float32))
    ]
