"""What lists are like, apart from being right. Lists are (U, K) codes padded with -1; the catalogue is the training
items."""

import numpy as np
from numpy.typing import NDArray

Lists = NDArray[np.int64]


def shown(lists: Lists, n_items: int) -> NDArray[np.int64]:
    """How often each item stands in a list, (I,)."""
    return np.bincount(lists[lists >= 0], minlength=n_items)


def coverage(lists: Lists, item_counts: NDArray[np.int64]) -> float:
    """Distinct recommended items / items with a training interaction."""
    return float(
        np.count_nonzero((shown(lists, len(item_counts)) > 0) & (item_counts > 0)) / max((item_counts > 0).sum(), 1)
    )


def gini(lists: Lists, item_counts: NDArray[np.int64]) -> float:
    """sum_j (2j - n - 1) x_(j) / (n sum x), x ascending counts of all n catalogue items: 0 is equal exposure."""
    x = np.sort(shown(lists, len(item_counts))[item_counts > 0])
    n = len(x)
    return float(((2 * np.arange(1, n + 1) - n - 1) * x).sum() / max(n * x.sum(), 1))


def entropy(lists: Lists, item_counts: NDArray[np.int64]) -> float:
    """-sum p log2 p over items' shares of the recommendation slots, in bits."""
    x = shown(lists, len(item_counts))
    p = x[x > 0] / max(x.sum(), 1)
    return float(-(p * np.log2(p)).sum())


def novelty(lists: Lists, item_counts: NDArray[np.int64], n_users: int) -> float:
    """Mean over lists of the mean of -log2(users of the item / users); an item nobody has counts as one user's."""
    information = -np.log2(np.maximum(item_counts, 1) / n_users)
    return _mean_of_lists(lists, information)


def average_popularity(lists: Lists, item_counts: NDArray[np.int64]) -> float:
    """Mean over lists of the mean number of training users of their items."""
    return _mean_of_lists(lists, item_counts.astype(np.float64))


def intra_list_distance(lists: Lists, vectors: NDArray[np.floating]) -> float:
    """Mean over lists of the mean of 1 - cosine over pairs of their items; lists of one item are left out."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.vstack([vectors / np.where(norms > 0, norms, 1), np.zeros((1, vectors.shape[1]))])
    n = np.count_nonzero(lists >= 0, axis=1)
    listed = unit[lists]
    total = np.square(listed.sum(1)).sum(1) - np.square(listed).sum((1, 2))
    several = n > 1
    return float(np.mean(1 - total[several] / (n[several] * (n[several] - 1)))) if several.any() else float("nan")


def personalization(lists: Lists, n_items: int) -> float:
    """1 - mean over pairs of users of the share of items that their lists have in common."""
    n_users, k = lists.shape
    counts = shown(lists, n_items).astype(np.float64)
    return float(1 - (counts * (counts - 1)).sum() / max(n_users * (n_users - 1) * k, 1))


def _mean_of_lists(lists: Lists, values: NDArray[np.float64]) -> float:
    real = lists >= 0
    n = real.sum(1)
    means = np.where(real, values[lists], 0).sum(1)[n > 0] / n[n > 0]
    return float(means.mean()) if len(means) else float("nan")
