"""Exact top-k: the best items of each row, from a table of scores or straight from the factors of a dot product.

Higher scores first, equal scores by smaller item code. An item whose score is -inf or NaN is never listed.
"""

# pyright: reportMissingParameterType=false
# Numba infers what the kernels take.

from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from recsys.errors import DataError, ParameterError
from recsys.kernels.bounds import TILE, Catalog, bound_block, round_user
from recsys.kernels.parallel import n_threads, over_rows
from recsys.kernels.tile import CHUNK, TILE_ITEMS, TILE_USERS, any_above, pack_users, score_block

Lists = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Codes (n, k), best first, padded with -1, and their scores, padded with -inf."""
LAYOUT: tuple[Literal["C"], Literal["A"], Literal["W"]] = ("C", "A", "W")
"""What the kernels are compiled for: contiguous, aligned, writable. Anything else is copied."""

FEW_ITEMS = 1024
"""So many, and a sixteenth of the catalog, are scored in the hope that bounds rule out the rest."""
USERS_IN_BLOCK, ITEMS_IN_BLOCK = 192, 256
"""Scores in a thread's buffer: 192 KiB, which leave room for the users' vectors in a second-level cache of 512 KiB."""


@njit(cache=True, nogil=True)
def sift_down(scores, items, row, size):
    """Restore the heap of a row after its root, the entry to drop first, was replaced.

    Of two entries the one to drop is that of the lower score or, of equal scores, of the larger code.
    """
    score, item = scores[row, 0], items[row, 0]
    at, child = 0, 1
    while child < size:
        worse, code = scores[row, child], items[row, child]
        if child + 1 < size:
            other = scores[row, child + 1]
            if other < worse or (other == worse and items[row, child + 1] > code):
                child, worse, code = child + 1, other, items[row, child + 1]
        if worse > score or (worse == score and code <= item):
            break
        scores[row, at] = worse
        items[row, at] = code
        at, child = child, 2 * child + 1
    scores[row, at] = score
    items[row, at] = item


@njit(cache=True, nogil=True)
def offer(block, n_rows, first, n_items, seen_at, seen_end, seen_items, best_items, best_scores, width):
    """Offer scores block[:n_rows, :n_items] of the items from `first` on to each row's heap of `width` entries.

    Items come in ascending order, so a newcomer equal to the worst entry kept has the larger code and loses: one strict
    comparison settles ties, and refuses -inf and NaN as well. It rarely succeeds, so whole chunks are tested at once.
    `seen_at` walks along each row's seen items, for the newcomers only.
    """
    for row in range(n_rows):
        worst = best_scores[row, 0]
        for start in range(0, n_items, CHUNK):
            stop = n_items
            if start + CHUNK <= n_items:
                stop = start + CHUNK
                if not any_above(block, row, start, worst):
                    continue
            for i in range(start, stop):
                score = block[row, i]
                if score > worst:
                    item = first + i
                    at = seen_at[row]
                    while at < seen_end[row] and seen_items[at] < item:
                        at += 1
                    seen_at[row] = at
                    if at == seen_end[row] or seen_items[at] != item:
                        best_scores[row, 0] = score
                        best_items[row, 0] = item
                        sift_down(best_scores, best_items, row, width)
                        worst = best_scores[row, 0]


@njit(cache=True, nogil=True)
def sort_heaps(best_items, best_scores, n_rows, width):
    """Turn each row's heap into a list, best first."""
    for row in range(n_rows):
        for last in range(width - 1, 0, -1):
            score, item = best_scores[row, 0], best_items[row, 0]
            best_scores[row, 0] = best_scores[row, last]
            best_items[row, 0] = best_items[row, last]
            sift_down(best_scores, best_items, row, last)
            best_scores[row, last] = score
            best_items[row, last] = item


@njit(cache=True, nogil=True)
def _rank(users, vectors, n_rows, seen_at, seen_end, seen_items, best_items, best_scores, width, panel, block):
    """Offer every item of vectors (I, D) to the heaps of packed users; the scores pass through `block`."""
    for first in range(0, vectors.shape[0], ITEMS_IN_BLOCK):
        stop = min(first + ITEMS_IN_BLOCK, vectors.shape[0])
        score_block(users, vectors, first, stop, panel, block)
        offer(block, n_rows, first, stop - first, seen_at, seen_end, seen_items, best_items, best_scores, width)


@njit(cache=True, nogil=True)
def _rank_few(users, catalog, seen_at, seen_end, seen_items, best_items, best_scores, width):
    """Lists of users (U, D), one at a time, by bounds; False if these rule out too little for one of them."""
    depth, n_items = users.shape[1], len(catalog.codes)
    panel, block = np.zeros((depth, TILE_ITEMS), np.float32), np.empty((1, ITEMS_IN_BLOCK), np.float32)
    vectors, items = np.empty((ITEMS_IN_BLOCK, depth), np.float32), np.empty(ITEMS_IN_BLOCK, np.int64)
    bounds, coarse = np.empty((1, ITEMS_IN_BLOCK), np.float32), np.zeros(2 * catalog.coarse.shape[1], np.int16)
    for row in range(users.shape[0]):
        user, left = users[row].reshape(1, depth, 1), FEW_ITEMS + n_items // 16
        step, norm = round_user(users[row], catalog.largest, coarse)
        if norm == 0:
            return False
        for first in range(0, n_items, ITEMS_IN_BLOCK):
            worst, stop = best_scores[row, 0], min(first + ITEMS_IN_BLOCK, n_items)
            # From here on the norm alone rules everything out.
            if norm * catalog.length[first // TILE] < worst:
                break
            bound_block(coarse, step, norm, catalog, first, stop, bounds)
            n = _possible(bounds, worst, catalog.codes[first:stop], items)
            left -= n
            if left < 0:
                return False
            _gather(catalog.vectors, items[:n], vectors)
            score_block(user, vectors, np.int64(0), n, panel, block)  # a literal 0 would be a type of its own
            _offer_some(block, row, items[:n], seen_at, seen_end, seen_items, best_items, best_scores, width)
    sort_heaps(best_items, best_scores, users.shape[0], width)
    return True


@njit(cache=True, nogil=True)
def _possible(bounds, worst, codes, items):
    """Write down the items, of the codes given, whose bound is above `worst`; their number is returned."""
    n = 0
    for start in range(0, len(codes), CHUNK):
        if any_above(bounds, 0, start, worst):
            for i in range(start, min(start + CHUNK, len(codes))):
                items[n] = codes[i]
                n += bounds[0, i] > worst
    return n


@njit(cache=True, nogil=True)
def _gather(vectors, items, out):
    """The vectors of some items one after another."""
    for i in range(len(items)):
        item = items[i]
        for d in range(vectors.shape[1]):
            out[i, d] = vectors[item, d]


@njit(cache=True, nogil=True)
def _offer_some(block, row, items, seen_at, seen_end, seen_items, best_items, best_scores, width):
    """`offer` the scores block[0] of some items, in any order, to a row's heap: ties are settled by the codes."""
    for i in range(len(items)):
        score, item, worst = block[0, i], items[i], best_scores[row, 0]
        if score > worst or (score == worst and item < best_items[row, 0]):
            at = place_of(seen_items, seen_at[row], seen_end[row], item)
            if at == seen_end[row] or seen_items[at] != item:
                best_scores[row, 0] = score
                best_items[row, 0] = item
                sift_down(best_scores, best_items, row, width)


@njit(cache=True, nogil=True)
def place_of(items, low, high, item):
    """First place of items[low:high], which ascend, that is not below an item; `high` where all are."""
    while low < high:
        middle = (low + high) // 2
        if items[middle] < item:
            low = middle + 1
        else:
            high = middle
    return low


def top_k_scores(
    scores: ArrayLike,
    k: int,
    *,
    seen_indptr: ArrayLike | None = None,
    seen_items: ArrayLike | None = None,
    n_jobs: int = 1,
) -> Lists:
    """The k best items of each row of scores (B, I): codes (B, k) padded with -1, scores (B, k) padded with -inf.

    `seen_items[seen_indptr[b] : seen_indptr[b + 1]]`, in ascending order, are left out of row b. `scores` is only read.
    """
    table = _floats(scores, "scores (B, I)")
    seen = _Seen(len(table), seen_indptr, seen_items)
    items, best = empty_lists(len(table), k)
    width = min(k, table.shape[1])

    def rank(low: int, high: int) -> None:
        lists = items[low:high], best[low:high]
        offer(table[low:high], high - low, 0, table.shape[1], *seen.rows(low, high), *lists, width)
        sort_heaps(*lists, high - low, width)

    if width and len(table):
        over_rows(rank, len(table), n_jobs)
    return items, best


def top_k_dot(
    user_vectors: ArrayLike,
    item_vectors: ArrayLike,
    k: int,
    *,
    seen_indptr: ArrayLike | None = None,
    seen_items: ArrayLike | None = None,
    n_jobs: int = -1,
) -> Lists:
    """`top_k_scores(user_vectors @ item_vectors.T, k)` for vectors (U, D) and (I, D), without that table.

    Memory beyond the lists: a thread's buffer of 192 x 256 scores. A score depends on its two vectors alone: lists are
    bitwise the same for any `n_jobs` and any batching of the users, and equal item vectors tie exactly. A product by
    BLAS sums in another order, so its scores may differ from these in the last digits.
    """
    vectors = _floats(item_vectors, "item_vectors (I, D)")
    users = _users(user_vectors, vectors)
    seen = _Seen(len(users), seen_indptr, seen_items)
    items, best = empty_lists(len(users), k)
    width = min(k, len(vectors))
    n_rows = _rows_in_block(len(users), n_threads(n_jobs))

    def rank(first: int, stop: int) -> None:
        block = np.empty((n_rows if len(users) > 1 else 1, ITEMS_IN_BLOCK), np.float32)
        panel = np.zeros((users.shape[1], TILE_ITEMS), np.float32)
        for low in range(first * n_rows, min(stop * n_rows, len(users)), n_rows):
            high = min(low + n_rows, len(users))
            lists = items[low:high], best[low:high]
            packed = pack_users(users[low:high])
            _rank(packed, vectors, high - low, *seen.rows(low, high), *lists, width, panel, block)
            sort_heaps(*lists, high - low, width)

    if width and len(users):
        over_rows(rank, -(-len(users) // n_rows), n_jobs)
    return items, best


def top_k_few(
    user_vectors: ArrayLike,
    catalog: Catalog,
    k: int,
    *,
    seen_indptr: ArrayLike | None = None,
    seen_items: ArrayLike | None = None,
) -> Lists:
    """`top_k_dot(user_vectors, catalog.vectors, k)`, bitwise, for few users: one by one, on the thread that calls.

    Bounds rule most items out before their vectors are read. Where they rule out little, as among equal scores, and for
    a vector of zeros, which has none, it is left to `top_k_dot`, which then takes up to a third longer.
    """
    users = _users(user_vectors, catalog.vectors)
    seen = _Seen(len(users), seen_indptr, seen_items)
    items, best = empty_lists(len(users), k)
    width = min(k, len(catalog.vectors))
    if not width or not len(users) or _rank_few(users, catalog, *seen.rows(0, len(users)), items, best, width):
        return items, best
    return top_k_dot(users, catalog.vectors, k, seen_indptr=seen.indptr, seen_items=seen.items, n_jobs=1)


def _rows_in_block(n_users: int, threads: int) -> int:
    """Users that share one pass over the items, whole tiles: a part for each thread, if it is worth a pass."""
    part = max(24, -(-n_users // threads))
    return min(USERS_IN_BLOCK, -(-part // TILE_USERS) * TILE_USERS)


class _Seen:
    """The seen items of each row as the kernels walk them."""

    def __init__(self, n_rows: int, indptr: ArrayLike | None, items: ArrayLike | None) -> None:
        if (indptr is None) != (items is None):
            raise ParameterError("seen_indptr and seen_items go together: pass both or neither")
        self.indptr = np.zeros(n_rows + 1, np.int64) if indptr is None else _laid_out(indptr, np.int64)
        self.items = np.empty(0, np.int32) if items is None else _laid_out(items, np.int32)
        if self.indptr.shape != (n_rows + 1,):
            raise DataError(f"seen_indptr needs {n_rows + 1} entries for {n_rows} rows, got {self.indptr.shape}")
        if self.indptr[0] < 0 or self.indptr[-1] > len(self.items) or (self.indptr[1:] < self.indptr[:-1]).any():
            raise DataError(f"seen_indptr must ascend from 0 to at most the {len(self.items)} entries of seen_items")

    def rows(self, low: int, high: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Where each row's seen items start (a copy, for the kernel to advance) and end, and the items."""
        return self.indptr[low:high].copy(), self.indptr[low + 1 : high + 1], self.items


def _users(user_vectors: ArrayLike, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of users, which must be as long as those of the items."""
    users = _floats(user_vectors, "user_vectors (U, D)")
    if users.shape[1] != vectors.shape[1]:
        raise DataError(f"top-k needs vectors of one length, got {users.shape[1]} (users), {vectors.shape[1]} (items)")
    return users


def _laid_out(values: ArrayLike, dtype: type[np.generic]) -> NDArray[Any]:
    """The values as the kernels take them; an array that is so already is itself."""
    if isinstance(values, np.ndarray) and values.dtype == dtype and values.flags.carray:
        return values
    return np.require(values, dtype, LAYOUT)


def _floats(values: ArrayLike, name: str) -> NDArray[np.float32]:
    table = _laid_out(values, np.float32)
    if table.ndim != 2:
        raise DataError(f"{name} must have two dimensions, got shape {table.shape}")
    return table


def empty_lists(n_rows: int, k: int) -> Lists:
    """Lists of nothing."""
    if k < 0:
        raise ParameterError(f"k must be at least 0, got {k}")
    return np.full((n_rows, k), -1, np.int64), np.full((n_rows, k), -np.inf, np.float32)
