"""Metrics of ranked lists. Each maps `Rankings` and a cut-off k to one figure a user, NaN where nothing was relevant.

h_i is 1 where the i-th entry of a list is relevant, R is the set of relevant items.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.metrics.rankings import Rankings

PerUser = NDArray[np.float64]


def _n_hits(rankings: Rankings, k: int) -> PerUser:
    return np.count_nonzero(rankings.hits[:, :k], axis=1).astype(np.float64)


def _relevant(rankings: Rankings) -> PerUser:
    """|R|, NaN where it is 0, so that every figure of such a user is."""
    return np.where(rankings.n_relevant > 0, rankings.n_relevant, np.nan)


def precision(rankings: Rankings, k: int, *, divide_by: Literal["k", "list"] = "k") -> PerUser:
    """sum_{i<=k} h_i / k, also for a list shorter than k; `divide_by="list"` divides by the list's length."""
    defined = 0 * _relevant(rankings)
    if divide_by == "k":
        return _n_hits(rankings, k) / k + defined
    length = np.count_nonzero(rankings.items[:, :k] >= 0, axis=1)
    return np.where(length > 0, _n_hits(rankings, k) / np.maximum(length, 1), np.nan) + defined


def recall(rankings: Rankings, k: int, *, cap: bool = False) -> PerUser:
    """sum_{i<=k} h_i / |R|; with `cap` / min(k, |R|)."""
    wanted = _relevant(rankings)
    return _n_hits(rankings, k) / (np.minimum(wanted, k) if cap else wanted)


def hit(rankings: Rankings, k: int) -> PerUser:
    """1 if any of the first k is relevant."""
    return (_n_hits(rankings, k) > 0) + 0 * _relevant(rankings)


def f1(rankings: Rankings, k: int) -> PerUser:
    """2 P R / (P + R), 0 where both are 0."""
    p, r = precision(rankings, k), recall(rankings, k)
    return np.where(p + r == 0, 0.0, 2 * p * r / np.where(p + r == 0, 1.0, p + r))


def mrr(rankings: Rankings, k: int) -> PerUser:
    """1 / the first i <= k with h_i = 1, else 0."""
    if rankings.hits[:, :k].shape[1] == 0:
        return 0 * _relevant(rankings)
    first = np.argmax(rankings.hits[:, :k], axis=1)
    return (_n_hits(rankings, k) > 0) / (first + 1.0) + 0 * _relevant(rankings)


def average_precision(rankings: Rankings, k: int, *, norm: Literal["min", "relevant", "k", "hits"] = "min") -> PerUser:
    """(1 / min(k, |R|)) sum_{i<=k} h_i P@i; `norm` divides by |R|, k or the number of hits instead."""
    hits = rankings.hits[:, :k]
    at = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    total = (hits * at).sum(1)
    wanted = _relevant(rankings)
    by = {
        "min": np.minimum(wanted, k),
        "relevant": wanted,
        "k": k + 0 * wanted,
        "hits": np.maximum(hits.sum(1), 1) + 0 * wanted,
    }
    return total / by[norm]


def ndcg(
    rankings: Rankings,
    k: int,
    *,
    gain: Literal["binary", "linear", "exp"] = "binary",
    ideal: Literal["relevant", "k", "list"] = "relevant",
    discount: Literal["log2", "lenskit"] = "log2",
) -> PerUser:
    """DCG / IDCG with DCG = sum_{i<=k} g_i / log2(i + 1), IDCG that of the best min(k, |R|) items.

    `gain`: 1, the relevance, or 2^relevance - 1. Other libraries' conventions: `ideal="k"` divides by k ones
    (RecTools), `ideal="list"` by the list's own hits sorted to its top (LibRecommender); `discount="lenskit"` is
    log2(max(i, 2)).
    """
    width = max(k, rankings.items.shape[1])
    places = np.arange(1, width + 1)
    weight = 1 / np.log2(np.maximum(places, 2) if discount == "lenskit" else places + 1)
    values, listed = rankings.gain(gain)
    dcg = listed[:, :k] @ weight[: listed[:, :k].shape[1]]
    wanted = _relevant(rankings)
    if ideal == "k":
        return dcg / weight[:k].sum() + 0 * wanted
    if ideal == "list":
        best = -np.sort(-listed[:, :k], axis=1) @ weight[: listed[:, :k].shape[1]]
        return np.where(best > 0, dcg / np.where(best > 0, best, 1), 0.0) + 0 * wanted
    ideal_dcg = _ideal(rankings, values, weight, k)
    return np.where(ideal_dcg > 0, dcg / np.where(ideal_dcg > 0, ideal_dcg, 1), 0.0) + 0 * wanted


def _ideal(rankings: Rankings, values: NDArray[np.float64], weight: NDArray[np.float64], k: int) -> PerUser:
    if rankings.gains is None or len(values) == 0 or np.all(values == values[0]):
        best = np.concatenate([[0.0], np.cumsum(weight[:k])])
        unit = values[0] if len(values) else 1.0
        return unit * best[np.minimum(rankings.n_relevant, k)]
    row = np.repeat(np.arange(len(rankings)), rankings.n_relevant)
    order = np.lexsort((-values, row))
    place = np.arange(len(values)) - rankings.indptr[row]
    inside = place < k
    return np.bincount(row[inside], (values[order])[inside] * weight[place[inside]], minlength=len(rankings))


def r_precision(rankings: Rankings) -> PerUser:
    """Relevant items among the first |R| of the list / |R|."""
    inside = np.arange(rankings.items.shape[1]) < rankings.n_relevant[:, None]
    return np.count_nonzero(rankings.hits & inside, axis=1) / _relevant(rankings)


def rank_of(target: float, others: NDArray[np.floating], *, ties: Literal["against", "average"] = "against") -> float:
    """Rank (from 1) of a score among others (n,); equal ones count before it, or half of them do."""
    if not np.isfinite(target) or np.isnan(others).any():
        raise DataError("a score is NaN, so there is no rank; check the model")
    equal = np.count_nonzero(others == target)
    return float(1 + np.count_nonzero(others > target) + (equal if ties == "against" else equal / 2))
