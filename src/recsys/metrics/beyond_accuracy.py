"""What lists are like, apart from being right: the first k of `Rankings`, beside what training knew of the items.

Figures of a list are one a user, (U,), NaN where the list is too short to have one; figures of all lists are one number.
Only `serendipity` reads what was relevant.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.metrics.ranking import PerUser, relevant_or_nan
from recsys.metrics.rankings import Rankings, checked_cut


@dataclass(frozen=True, eq=False)
class Catalog:
    """What training knew: users of each item `item_counts` (I,), number of users, vectors of the items (I, D) if any.

    An item without a training user is not part of the catalog.
    """

    item_counts: NDArray[np.int64]
    n_users: int
    vectors: NDArray[np.floating] | None = None


# -- figures of all lists ----------------------------------------------------------------------------------------------


def coverage(rankings: Rankings, k: int, catalog: Catalog) -> float:
    """Distinct recommended items / items with a training user, counting these alone: a share."""
    counts = shown(rankings, k, catalog)
    return float(np.mean(counts > 0)) if len(counts) else float("nan")


def gini(rankings: Rankings, k: int, catalog: Catalog) -> float:
    """sum_j (2j - n - 1) x_(j) / (n sum x), x ascending recommendation counts of all n items of the catalog.

    0 is equal exposure; items that are never recommended count. NaN where nothing is recommended.
    """
    x = np.sort(shown(rankings, k, catalog))
    n = len(x)
    return float(((2 * np.arange(1, n + 1) - n - 1) * x).sum() / (n * x.sum())) if x.any() else float("nan")


def entropy(rankings: Rankings, k: int, catalog: Catalog) -> float:
    """-sum p log2 p over items' shares p of the recommendation slots, in bits; NaN where nothing is recommended."""
    x = np.bincount(slots(rankings, k))
    p = x[x > 0] / max(x.sum(), 1)
    return float((p * np.log2(1 / p)).sum()) if len(p) else float("nan")


def personalization(rankings: Rankings, k: int, catalog: Catalog) -> float:
    """1 - mean over pairs of users of the overlap |A & B| / sqrt(|A| |B|) of their lists: common items / k if full.

    Empty lists are left out; NaN with fewer than two others.
    """
    lists = rankings.items[:, : checked_cut(k)]
    lengths = np.count_nonzero(lists >= 0, axis=1)
    n = np.count_nonzero(lengths)
    if n < 2:
        return float("nan")
    # With lists as unit vectors over items, the sum over all pairs is the square of their sum.
    share = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths)
    total = np.square(np.bincount(lists[lists >= 0], share)).sum()
    return float(1 - (total - n) / (n * (n - 1)))


# -- figures of each list ----------------------------------------------------------------------------------------------


def novelty(rankings: Rankings, k: int, catalog: Catalog) -> PerUser:
    """Mean of -log2(users of the item / users) over a list; an item nobody has counts as one user's."""
    return _list_means(rankings, k, -np.log2(np.maximum(catalog.item_counts, 1) / catalog.n_users))


def average_popularity(rankings: Rankings, k: int, catalog: Catalog, *, normalized: bool = False) -> PerUser:
    """Mean number of training users of a list's items; `normalized` by the number of users."""
    return _list_means(rankings, k, catalog.item_counts / (catalog.n_users if normalized else 1))


def intra_list_distance(rankings: Rankings, k: int, catalog: Catalog) -> PerUser:
    """Mean of 1 - cosine over pairs of a list's items; NaN for fewer than two.

    An item whose vector is 0 is at distance 1 from all.
    """
    if catalog.vectors is None:
        raise DataError("ild needs the vectors of the items; pass item_vectors=..., (I, D) in the model's item order")
    lists = rankings.items[:, : checked_cut(k)]
    norms = np.linalg.norm(catalog.vectors, axis=1)
    unit = catalog.vectors / np.where(norms > 0, norms, 1)[:, None]
    n = np.count_nonzero(lists >= 0, axis=1)
    indptr, items = np.append(0, np.cumsum(n)), lists[lists >= 0]
    listed = sp.csr_matrix((np.ones(len(items)), items, indptr), shape=(len(lists), len(unit)))
    # The square of a sum of vectors holds each pair twice and each item with itself.
    cosines = np.square(listed @ unit).sum(1) - listed @ (norms > 0).astype(np.float64)
    pairs = n * (n - 1)
    return 1 - np.divide(cosines, pairs, out=np.full(len(lists), np.nan), where=pairs > 0)


def serendipity(rankings: Rankings, k: int, catalog: Catalog) -> PerUser:
    """(1 / k) sum_{i<=k} h_i max(0, P_u(i) - P(i)), NaN where nothing was relevant.

    P_u(i) = (I + 1 - i) / I for the i-th of a list, P(i) = (I + 1 - p) / I for the p-th level of popularity (items of
    one number of training users share a level), 0 for an item nobody has; I is the size of the catalog.
    """
    lists = rankings.items[:, : checked_cut(k)]
    counts = catalog.item_counts
    n_items = max(np.count_nonzero(counts), 1)
    levels = np.unique(-counts[counts > 0])
    level = np.searchsorted(levels, -counts) + 1
    popular = np.append(np.where(counts > 0, (n_items + 1 - level) / n_items, 0.0), 0.0)
    personal = (n_items + 1 - np.arange(1, lists.shape[1] + 1)) / n_items
    surprise = rankings.hits[:, : lists.shape[1]] * np.maximum(personal - popular[lists], 0)
    return surprise.sum(1) / k + 0 * relevant_or_nan(rankings)


# -- parts of the above --------------------------------------------------------------------------------------------


def slots(rankings: Rankings, k: int) -> NDArray[np.int64]:
    """Items of all places of the first k, (n,)."""
    lists = rankings.items[:, : checked_cut(k)]
    return lists[lists >= 0]


def shown(rankings: Rankings, k: int, catalog: Catalog) -> NDArray[np.int64]:
    """How often each item of the catalog stands in a list, (I,)."""
    return np.bincount(slots(rankings, k), minlength=len(catalog.item_counts))[catalog.item_counts > 0]


def _list_means(rankings: Rankings, k: int, values: NDArray[np.floating]) -> PerUser:
    """Mean of the items' values over each list, NaN for an empty one."""
    lists = rankings.items[:, : checked_cut(k)]
    n = np.count_nonzero(lists >= 0, axis=1)
    total = np.append(values, 0.0)[lists].sum(1)
    return np.divide(total, n, out=np.full(len(lists), np.nan), where=n > 0)
