"""Metrics of ranked lists. Each maps `Rankings` and a cut-off k to one figure a user, (U,), NaN where nothing was relevant.

h_i is 1 where the i-th entry of a list is relevant, R is the set of relevant items. A list shorter than k has no
relevant entries beyond its end. For `TiedRankings` each figure is its expectation over the order of equal scores.
"""

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.errors import DataError, ParameterError
from recsys.metrics.rankings import Gain, Rankings, checked_cut, finite
from recsys.metrics.ties import TiedRankings

PerUser = NDArray[np.float64]


def precision(rankings: Rankings, k: int, *, divide_by: Literal["k", "list"] = "k") -> PerUser:
    """sum_{i<=k} h_i / k, also for a list shorter than k.

    `divide_by="list"` divides by the length of the list, and gives NaN for an empty one (LensKit).
    """
    n_hits, wanted = hits_within(rankings, k), relevant_or_nan(rankings)
    if divide_by == "k":
        return n_hits / k + 0 * wanted
    length = np.count_nonzero(rankings.items[:, :k] >= 0, axis=1)
    return n_hits / np.where(length > 0, length, np.nan) + 0 * wanted


def recall(rankings: Rankings, k: int, *, cap: bool = False) -> PerUser:
    """sum_{i<=k} h_i / |R|; with `cap` / min(k, |R|)."""
    wanted = relevant_or_nan(rankings)
    return hits_within(rankings, k) / (np.minimum(wanted, k) if cap else wanted)


def hit(rankings: Rankings, k: int) -> PerUser:
    """1 if any of the first k is relevant, else 0."""
    return 1 - rankings.misses[:, _width(rankings, k)] + 0 * relevant_or_nan(rankings)


def f1(rankings: Rankings, k: int) -> PerUser:
    """2 P R / (P + R) of precision P and recall R, 0 where both are 0: 2 sum_{i<=k} h_i / (k + |R|)."""
    return 2 * hits_within(rankings, k) / (k + relevant_or_nan(rankings))


def mrr(rankings: Rankings, k: int) -> PerUser:
    """Reciprocal rank: 1 / the first i <= k with h_i = 1, 0 if there is none."""
    width = _width(rankings, k)
    # h_i is the first hit where the misses end: misses are 1 before it and 0 from it on.
    first = rankings.misses[:, :width] - rankings.misses[:, 1 : width + 1]
    return first @ (1 / np.arange(1, width + 1)) + 0 * relevant_or_nan(rankings)


def average_precision(rankings: Rankings, k: int, *, norm: Literal["min", "relevant", "k", "hits"] = "min") -> PerUser:
    """(1 / min(k, |R|)) sum_{i<=k} h_i P@i.

    `norm` divides by |R| ("relevant"), by k or by the number of hits in the first k instead.
    """
    width = _width(rankings, k)
    total = rankings.hit_products[:, :width] @ (1 / np.arange(1, width + 1))
    wanted = relevant_or_nan(rankings)
    if norm == "hits":
        _refuse_ties(rankings, 'norm="hits"')
        return total / np.maximum(hits_within(rankings, k), 1) + 0 * wanted
    return total / {"min": np.minimum(wanted, k), "relevant": wanted, "k": k + 0 * wanted}[norm]


def ndcg(
    rankings: Rankings,
    k: int,
    *,
    gain: Gain = "binary",
    ideal: Literal["relevant", "k", "list"] = "relevant",
    discount: Literal["log2", "lenskit"] = "log2",
) -> PerUser:
    """DCG / IDCG with DCG = sum_{i<=k} g_i / log2(i + 1), IDCG that of the best min(k, |R|) relevant items.

    `gain` is 1, the relevance, or 2^relevance - 1; a negative relevance gains nothing, and a user for whom nothing
    gains gets 0. Other libraries' conventions: `ideal="k"` divides by k ones (RecTools), `ideal="list"` by the
    list's own hits sorted to its top (LibRecommender); `discount="lenskit"` is log2(max(i, 2)).
    """
    width = _width(rankings, k)
    places = np.arange(1, k + 1)
    weight = 1 / np.log2(np.maximum(places, 2) if discount == "lenskit" else places + 1)
    listed = rankings.listed_values(gain)[:, :width]
    dcg = listed @ weight[:width]
    if ideal == "k":
        best = np.full(len(rankings), weight.sum())
    elif ideal == "list":
        _refuse_ties(rankings, 'ideal="list"')
        best = -np.sort(-listed, axis=1) @ weight[:width]
    else:
        best = _ideal(rankings, gain, weight)
    return np.divide(dcg, best, out=np.zeros(len(rankings)), where=best > 0) + 0 * relevant_or_nan(rankings)


def r_precision(rankings: Rankings) -> PerUser:
    """Relevant items among the first |R| of the list / |R|; the lists must be as long as the longest R."""
    within = np.minimum(rankings.n_relevant, rankings.items.shape[1])
    return rankings.n_hits[np.arange(len(rankings)), within] / relevant_or_nan(rankings)


def ranking_auc(scores: ArrayLike, indptr: NDArray[np.int64], relevant: NDArray[np.int64]) -> PerUser:
    """P(score of a relevant item > score of another candidate) + P(they are equal) / 2, for each row of scores (U, I).

    Row u's relevant items are `relevant[indptr[u]:indptr[u + 1]]`. An item with score -inf is no candidate (a seen
    one); a relevant item that is none, or whose code is beyond the table, loses to all others. NaN where nothing is
    relevant or nothing else is a candidate. O(I log I) a user.
    """
    table = finite(scores)
    found = np.full(len(table), np.nan)
    # Rows differ in their numbers of candidates, and a sort is most of the cost.
    for row, (start, stop) in enumerate(pairwise(indptr)):
        items = relevant[start:stop]
        positives = table[row, items[items < table.shape[1]]]
        positives = positives[positives > -np.inf]
        candidates = np.sort(table[row][table[row] > -np.inf])
        n_others = len(candidates) - len(positives)
        if len(items) and n_others:
            below, to_equal = (np.searchsorted(candidates, positives, side) for side in ("left", "right"))
            # Among themselves the positives win half of their comparisons.
            wins = (below + to_equal).sum() / 2 - len(positives) ** 2 / 2
            found[row] = wins / (len(items) * n_others)
    return found


def rank_of(target: float, others: ArrayLike, *, ties: Literal["against", "average"] = "against") -> float:
    """Rank (from 1) of a score among others (n,); equal ones count before it, or half of them do."""
    table = np.asarray(others, np.float64)
    if not np.isfinite(target) or np.isnan(table).any():
        raise DataError("a score is NaN or infinite, so there is no rank; check the model")
    equal = np.count_nonzero(table == target)
    return float(1 + np.count_nonzero(table > target) + (equal if ties == "against" else equal / 2))


# -- parts of the above --------------------------------------------------------------------------------------------


def hits_within(rankings: Rankings, k: int) -> PerUser:
    """sum_{i<=k} h_i, (U,)."""
    return rankings.n_hits[:, _width(rankings, k)]


def relevant_or_nan(rankings: Rankings) -> PerUser:
    """|R|, NaN where it is 0, so that every figure of such a user is, (U,)."""
    return np.where(rankings.n_relevant > 0, rankings.n_relevant, np.nan)


def _width(rankings: Rankings, k: int) -> int:
    """Places of the lists that a cut-off reads."""
    return min(checked_cut(k), rankings.items.shape[1])


def _refuse_ties(rankings: Rankings, option: str) -> None:
    if isinstance(rankings, TiedRankings):
        raise ParameterError(f"{option} has no average over ties; use Rankings, which break them by item code")


def _ideal(rankings: Rankings, gain: Gain, weight: NDArray[np.float64]) -> PerUser:
    """DCG of the best min(k, |R|) relevant items, (U,), for weights (k,)."""
    k = len(weight)
    if rankings.gains is None or gain == "binary":
        return np.append(0.0, np.cumsum(weight))[np.minimum(rankings.n_relevant, k)]
    values = rankings.values(gain)
    row = np.repeat(np.arange(len(rankings)), rankings.n_relevant)
    order = np.lexsort((-values, row))
    place = np.arange(len(values)) - rankings.indptr[row]
    inside = place < k
    return np.bincount(row[inside], values[order][inside] * weight[place[inside]], minlength=len(rankings))
