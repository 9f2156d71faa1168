"""Exact top-k: the best items of each row, from a table of scores or straight from the factors of a dot product.

Order everywhere: higher score first, equal scores by smaller item code. A score of -inf or NaN is never listed.
"""

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from recsys.errors import DataError, ParameterError
from recsys.kernels.parallel import over_rows

USERS_IN_BLOCK = 128
ITEMS_IN_BLOCK = 1024
CHUNK = 32


@njit(cache=True, nogil=True)
def _sift_down(scores, items, size):
    """Restore a heap whose root was replaced; its root is the entry to drop first: lowest score, then largest code."""
    at, score, item = 0, scores[0], items[0]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (
            scores[right] < scores[child] or (scores[right] == scores[child] and items[right] > items[child])
        ):
            child = right
        if scores[child] > score or (scores[child] == score and items[child] <= item):
            break
        scores[at], items[at] = scores[child], items[child]
        at = child
    scores[at], items[at] = score, item


@njit(cache=True, nogil=True)
def _scan(block, first_item, seen_indptr, seen_items, best_items, best_scores):
    """Offer the scores of items `first_item ...` (rows, n) to each row's heap of k; items come in ascending order.

    A newcomer equal to the worst kept entry has the larger code and loses, so one strict comparison settles ties,
    and drops -inf and NaN as well. Few scores pass it, hence the test of a whole chunk at once.
    """
    n = block.shape[1]
    k = best_scores.shape[1]
    for row in range(block.shape[0]):
        scores, heap, codes = block[row], best_scores[row], best_items[row]
        threshold = heap[0]
        end = seen_indptr[row + 1]
        seen = seen_indptr[row] + np.searchsorted(seen_items[seen_indptr[row] : end], first_item)
        for start in range(0, n, CHUNK):
            stop = min(start + CHUNK, n)
            passes = False
            for i in range(start, stop):
                passes |= scores[i] > threshold
            if not passes:
                continue
            for i in range(start, stop):
                if not scores[i] > threshold:
                    continue
                item = first_item + i
                while seen < end and seen_items[seen] < item:
                    seen += 1
                if seen < end and seen_items[seen] == item:
                    continue
                heap[0], codes[0] = scores[i], item
                _sift_down(heap, codes, k)
                threshold = heap[0]


@njit(cache=True, nogil=True)
def _sort(best_items, best_scores):
    """Turn each row's heap into a list, best first."""
    for row in range(best_scores.shape[0]):
        heap, codes = best_scores[row], best_items[row]
        for size in range(heap.shape[0] - 1, 0, -1):
            heap[0], heap[size] = heap[size], heap[0]
            codes[0], codes[size] = codes[size], codes[0]
            _sift_down(heap, codes, size)


def top_k_scores(
    scores: ArrayLike,
    k: int,
    *,
    seen_indptr: ArrayLike | None = None,
    seen_items: ArrayLike | None = None,
    n_jobs: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best items of each row of scores (B, I): codes (B, k) padded with -1, scores (B, k) padded with -inf.

    `seen_items[seen_indptr[b] : seen_indptr[b + 1]]`, ascending codes, are left out of row b. `scores` is only read.
    """
    table = np.ascontiguousarray(scores, np.float32)
    if table.ndim != 2:
        raise DataError(f"top_k_scores needs scores of shape (B, I), got {table.shape}")
    indptr, seen = _seen(len(table), seen_indptr, seen_items)
    items, best = _empty_lists(len(table), k)
    width = min(k, table.shape[1])

    def work(start: int, stop: int) -> None:
        heap, codes = _heaps(stop - start, width)
        _scan(table[start:stop], 0, indptr[start : stop + 1], seen, codes, heap)
        _sort(codes, heap)
        items[start:stop, :width], best[start:stop, :width] = codes, heap

    if width:
        over_rows(work, len(table), n_jobs)
    return items, best


def top_k_dot(
    user_vectors: ArrayLike,
    item_vectors: ArrayLike,
    k: int,
    *,
    seen_indptr: ArrayLike | None = None,
    seen_items: ArrayLike | None = None,
    n_jobs: int = -1,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """`top_k_scores(user_vectors @ item_vectors.T, k)` without the table: (U, D) and (I, D) to two (U, k)."""
    users = np.ascontiguousarray(user_vectors, np.float32)
    vectors = np.ascontiguousarray(item_vectors, np.float32)
    if users.ndim != 2 or vectors.ndim != 2 or users.shape[1] != vectors.shape[1]:
        raise DataError(f"top_k_dot needs vectors (U, D) and (I, D), got {users.shape} and {vectors.shape}")
    indptr, seen = _seen(len(users), seen_indptr, seen_items)
    items, best = _empty_lists(len(users), k)
    width = min(k, len(vectors))

    def work(start: int, stop: int) -> None:
        buffer = np.empty(USERS_IN_BLOCK * ITEMS_IN_BLOCK, np.float32)
        for low in range(start, stop, USERS_IN_BLOCK):
            high = min(low + USERS_IN_BLOCK, stop)
            heap, codes = _heaps(high - low, width)
            for first in range(0, len(vectors), ITEMS_IN_BLOCK):
                some = vectors[first : first + ITEMS_IN_BLOCK]
                block = buffer[: (high - low) * len(some)].reshape(high - low, len(some))
                np.matmul(users[low:high], some.T, out=block)
                _scan(block, first, indptr[low : high + 1], seen, codes, heap)
            _sort(codes, heap)
            items[low:high, :width], best[low:high, :width] = codes, heap

    if width:
        over_rows(work, len(users), n_jobs)
    return items, best


def _empty_lists(n_rows: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    if k < 0:
        raise ParameterError(f"k must be at least 0, got {k}")
    return np.full((n_rows, k), -1, np.int64), np.full((n_rows, k), -np.inf, np.float32)


def _heaps(n_rows: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return np.full((n_rows, width), -np.inf, np.float32), np.full((n_rows, width), -1, np.int64)


def _seen(
    n_rows: int, seen_indptr: ArrayLike | None, seen_items: ArrayLike | None
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    if seen_indptr is None or seen_items is None:
        return np.zeros(n_rows + 1, np.int64), np.empty(0, np.int32)
    indptr, seen = np.ascontiguousarray(seen_indptr, np.int64), np.ascontiguousarray(seen_items, np.int32)
    if indptr.shape != (n_rows + 1,):
        raise DataError(f"seen_indptr must have one entry more than there are rows ({n_rows}), got shape {indptr.shape}")
    return indptr, seen
