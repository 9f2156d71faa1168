"""Scores of several models made comparable, each user's by themselves.

Reciprocal ranks: Cormack, Clarke & Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and Individual Rank Learning
Methods", SIGIR 2009.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.topk import top_k_scores
from recsys.lists import Seen

Method = Literal["zscore", "minmax", "rrf"]


def comparable(scores: NDArray[np.float32], method: Method, rrf_k: float) -> NDArray[np.float32]:
    """Scores (B, I) on a scale that those of other models share, in a fresh buffer.

    "zscore": (s - mean) / deviation of the row. "minmax": 0 for its least, 1 for its largest. Of equal scores, which say
    nothing, both make 0. "rrf": 1 / (rrf_k + rank), rank from 1, ties to the smaller code. What scores -inf is no
    candidate: it stays -inf, and the others are compared without it.
    """
    barred = np.isneginf(scores)
    found = by_rank(scores, rrf_k) if method == "rrf" else by_spread(scores, barred, method)
    found[barred] = -np.inf
    return found


def by_rank(scores: NDArray[np.float32], rrf_k: float) -> NDArray[np.float32]:
    """Reciprocal ranks of scores (B, I)."""
    order = np.argsort(-scores, axis=1, kind="stable")
    found = np.empty(scores.shape, np.float32)
    shares = (1 / (rrf_k + 1 + np.arange(scores.shape[1]))).astype(np.float32)
    np.put_along_axis(found, order, np.broadcast_to(shares, scores.shape), axis=1)
    return found


def by_spread(
    scores: NDArray[np.float32], barred: NDArray[np.bool_], method: Literal["zscore", "minmax"]
) -> NDArray[np.float32]:
    """Scores (B, I) from their mean in deviations, or from their least in parts of the way to the largest."""
    found, n_scored = np.where(barred, 0, scores), np.maximum(np.count_nonzero(~barred, axis=1, keepdims=True), 1)
    if method == "zscore":
        start = found.sum(1, keepdims=True, dtype=np.float64) / n_scored
    else:
        start = np.where(barred, np.inf, scores).min(1, keepdims=True)
    found -= start.astype(np.float32)
    found[barred] = 0
    if method == "zscore":
        spread = np.sqrt(np.einsum("bi,bi->b", found, found, dtype=np.float64)[:, None] / n_scored)
    else:
        spread = found.max(1, keepdims=True)
    return np.divide(found, spread, out=found, where=spread > 0)


def weighted(tables: Sequence[NDArray[np.float32]], weights: Sequence[float] | NDArray[Any]) -> NDArray[np.float32]:
    """The sum of tables (B, I) times their weights, in a fresh buffer; a table of weight 0 has no say, -inf neither."""
    total = np.zeros_like(tables[0])
    for table, weight in zip(tables, weights, strict=True):
        if weight > 0:
            total += table * np.float32(weight)
    return total


def contenders(tables: Sequence[NDArray[np.float32]], k: int, seen: Seen) -> tuple[NDArray[Any], NDArray[Any]]:
    """Unseen items that can be among the k best of their row by some weights: rows and codes (N,), ascending.

    An item is in no list if some k others beat it by every table; those that are tried are the best by equal weights.
    """
    n_rows, n_items = tables[0].shape
    best = top_k_scores(weighted(tables, np.ones(len(tables))), min(k, n_items), **seen.rows(slice(0, n_rows)))[0]
    able = np.zeros((n_rows, n_items), bool)
    for table in tables:
        least = np.take_along_axis(table, best, axis=1).min(1, keepdims=True)
        # A list that ends early has all that there is.
        able |= table >= np.where(best[:, -1:] >= 0, least, -np.inf)
    able[np.repeat(np.arange(n_rows), np.diff(seen.indptr)), seen.indices] = False
    return able.nonzero()


def weight_grid(n_models: int, most: int = 300) -> NDArray[np.float64]:
    """Weights (W, n) that add up to 1, in steps of 0.05, or coarser ones where that would make more than `most`."""
    points: list[list[int]] = []
    for n_steps in (20, 10, 5, 4, 3, 2, 1):
        # Bars between stars: each choice of places for the bars shares the steps out in its own way.
        places = combinations(range(n_steps + n_models - 1), n_models - 1)
        points = [np.diff([-1, *bars, n_steps + n_models - 1]).tolist() for bars in places]
        if len(points) <= most:
            break
    shares = np.array(points) - 1
    return shares / shares.sum(1, keepdims=True)
