"""Lists by many weightings of the same scores: of each row those items alone that can be in one of them."""

# pyright: reportMissingParameterType=false
# Numba infers what the kernels take.

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.kernels.parallel import over_rows
from recsys.kernels.topk import offer, sort_heaps


@njit(cache=True, nogil=True)
def _rank_mixes(scores, items, indptr, weights, first, stop, lists, mix):
    """Lists of the rows from `first` on by each weighting; a row's weighted scores pass through `mix` (1, N)."""
    width = lists.shape[2]
    best_items, best_scores = np.empty((1, width), np.int64), np.empty((1, width), np.float32)
    none, no_items = np.zeros(1, np.int64), np.empty(0, np.int32)
    for row in range(first, stop):
        low, n_items = indptr[row], indptr[row + 1] - indptr[row]
        for trial in range(weights.shape[0]):
            mix[0, :n_items] = 0
            for model in range(weights.shape[1]):
                weight = weights[trial, model]
                if weight > 0:
                    mine, total = scores[model, low : low + n_items], mix[0]
                    for i in range(n_items):
                        total[i] += mine[i] * weight
            best_items[0, :], best_scores[0, :] = -1, -np.inf
            offer(mix, 1, np.int64(0), n_items, none, none, no_items, best_items, best_scores, width)
            sort_heaps(best_items, best_scores, 1, width)
            for place in range(width):
                at = best_items[0, place]
                lists[trial, row, place] = items[low + at] if at >= 0 else -1


def top_k_mixes(
    scores: NDArray[np.float32],
    items: NDArray[np.int64],
    indptr: NDArray[np.int64],
    weights: NDArray[np.float32],
    k: int,
    n_jobs: int = 1,
) -> NDArray[np.int64]:
    """The k best of each row by each weighting (W, M) of M scores: codes (W, B, k), padded with -1.

    Row b may list `items[indptr[b] : indptr[b + 1]]`, ascending, whose scores are the same columns of `scores` (M, N).
    A weight of 0 leaves its scores unread, -inf among them. O(W M N) time, and a row's scores beyond the lists.
    """
    lists = np.full((len(weights), len(indptr) - 1, k), -1, np.int64)
    longest = int(np.diff(indptr).max(initial=0))

    def rank(first: int, stop: int) -> None:
        _rank_mixes(scores, items, indptr, weights, first, stop, lists, np.empty((1, longest), np.float32))

    if k and longest:
        over_rows(rank, lists.shape[1], n_jobs)
    return lists
