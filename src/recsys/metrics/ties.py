"""Lists with equal scores: what a metric is on average when each order of equals is as likely as another."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.kernels.topk import top_k_scores
from recsys.metrics.rankings import Gain, Rankings, checked_cut, finite


@dataclass(frozen=True, eq=False)
class TiedRankings(Rankings):
    """Rankings whose metrics are expectations over the order of equal scores.

    Place i (from 0) of list u belongs to a group of `size[u, i]` items of one score, of which the first stands at
    `first[u, i]`; a group may reach beyond the list. `place[r]` is where the group of relevant item r starts, K for one
    outside the lists. Each of a group's items is equally likely at each of its places.
    """

    first: NDArray[np.int64] = field(kw_only=True)
    size: NDArray[np.int64] = field(kw_only=True)
    place: NDArray[np.int64] = field(kw_only=True)

    @classmethod
    def from_scores(
        cls,
        scores: ArrayLike,
        k: int,
        indptr: NDArray[np.int64],
        relevant: NDArray[np.int64],
        gains: NDArray[np.float64] | None = None,
    ) -> "TiedRankings":
        """The best k of scores (U, I), with all that is equal to the last of them; -inf is no candidate.

        Scores are compared as float32. A relevant item whose code is beyond the table is in no list.
        """
        table = finite(scores).astype(np.float32)
        items, best = top_k_scores(table, checked_cut(k))
        width = items.shape[1]
        new = np.ones(best.shape, bool)
        new[:, 1:] = best[:, 1:] != best[:, :-1]
        first = np.maximum.accumulate(np.where(new, np.arange(width), 0), axis=1)
        rows = np.arange(len(items))[:, None]
        size = np.bincount((rows * width + first).ravel(), minlength=best.size).reshape(best.shape)
        full = items[:, -1] >= 0
        size[full, first[full, -1]] = np.count_nonzero(table[full] == best[full, -1:], axis=1)
        user = np.repeat(np.arange(len(items)), np.diff(indptr))
        known = relevant < table.shape[1]
        own = np.full(len(relevant), -np.inf, np.float32)
        own[known] = table[user[known], relevant[known]]
        place = np.where(own > -np.inf, np.count_nonzero(best[user] > own[:, None], axis=1), width)
        return cls(items, indptr, relevant, gains, first=first, size=size[rows, first], place=place)

    def _in_group(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of the values (R,) of the relevant items of each place's group, (U, K)."""
        width = self.items.shape[1]
        user = np.repeat(np.arange(len(self)), self.n_relevant)
        inside = self.place < width
        at = user[inside] * width + self.place[inside]
        totals = np.bincount(at, values[inside], minlength=self.items.size).reshape(self.items.shape)
        return np.take_along_axis(totals, self.first, axis=1)

    @cached_property
    def _good(self) -> NDArray[np.float64]:
        """Relevant items of each place's group, (U, K)."""
        return self._in_group(np.ones(len(self.relevant)))

    @cached_property
    def chances(self) -> NDArray[np.float64]:
        """Probability that the item at each place is relevant, (U, K)."""
        return self._good / self.size

    @cached_property
    def misses(self) -> NDArray[np.float64]:
        """Probability that none of the first 0, 1, ..., K of each list is relevant, (U, K + 1)."""
        before = np.arange(self.items.shape[1]) - self.first
        # The chance of one more miss, after misses at all earlier places of the group.
        miss = np.maximum(self.size - self._good - before, 0) / (self.size - before)
        return np.concatenate([np.ones((len(self), 1)), np.cumprod(miss, axis=1)], axis=1)

    @cached_property
    def hit_products(self) -> NDArray[np.float64]:
        """Expectation of h_i (h_1 + ... + h_i) at each place i, (U, K)."""
        earlier = np.take_along_axis(self.n_hits, self.first, axis=1)
        before = np.arange(self.items.shape[1]) - self.first
        both = self._good * (self._good - 1) / np.maximum(self.size * (self.size - 1), 1)
        return self.chances * (1 + earlier) + before * both

    def listed_values(self, kind: Gain) -> NDArray[np.float64]:
        """Expected gain of the item at each place, (U, K)."""
        return self._in_group(self.values(kind)) / self.size
