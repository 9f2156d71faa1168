"""Item-based neighbors: what a user gave to items like this one.

Sarwar et al., "Item-Based Collaborative Filtering Recommendation Algorithms", WWW 2001; Deshpande & Karypis, TOIS 2004.
"""

from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.base import Query
from recsys.data import Dataset
from recsys.kernels.similarity import Rows, predict_pairs, top_k_similar
from recsys.models.neighbors.knn import (
    PAIR_BLOCK,
    NeighborRecommender,
    baselines,
    centered,
    row_deviations,
    row_means,
    weigh,
)


class ItemKNN(NeighborRecommender):
    """Ratings: a weighted mean over the user's items most similar to the target. Implicit: X S, S the items' top neighbors.

    The implicit form keeps `n_neighbors` similarities an item. The rating form keeps none: similarities of a target
    are made when it is scored, so the nearest neighbors are exact among the items that the user has rated. S_ij is the
    similarity of i in the history to the target j; only "asymmetric" and "tversky" tell the two apart.
    """

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        self._fit_form(data)
        if self.explicit_:
            return
        items = self._rows
        # Rows are targets here, so the measure is read from the other side.
        measure = self._measure().turned()
        near, values = top_k_similar(items, Rows.of(items), self.n_neighbors, measure, n_jobs=self.n_jobs)
        kept = near >= 0
        targets = np.nonzero(kept)[0]
        # Column j holds the neighbors of target j: a score sums over what the target is like, not over what is like
        # the history.
        self.weights_ = sp.csr_matrix((values[kept], (near[kept], targets)), shape=(len(near), len(near)))

    @cached_property
    def _rows(self) -> Any:
        """Items x users as items are compared; made once, and not saved."""
        matrix = self._matrix(self.history_)
        if not self.explicit_:
            return weigh(matrix.T.tocsr(), np.diff(matrix.indptr), len(self.items_), self.weighting)
        if self.similarity == "adjusted_cosine":
            return centered(matrix, row_means(matrix, self.mean_)).T.tocsr()
        rows = matrix.T.tocsr()
        return centered(rows, row_means(rows, self.mean_)) if self.similarity == "pearson_mean" else rows

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        n_items = len(self.items_)
        if not self.explicit_:
            return np.asarray((query.history.matrix(n_items) @ self.weights_).todense(), np.float32)
        scores = np.empty((n_items, len(query)), np.float32)
        step = max(1, PAIR_BLOCK // max(1, len(query)))
        for start in range(0, n_items, step):
            targets = np.arange(start, min(start + step, n_items))
            every = np.tile(np.arange(len(query)), len(targets))
            found = self._ratings(query, targets, np.arange(len(targets) + 1) * len(query), every)
            scores[targets] = found.reshape(len(targets), -1)
        return scores.T.copy()

    @cached_property
    def _levels(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of each item's ratings."""
        items = self._matrix(self.history_).T.tocsr()
        means = row_means(items, self.mean_)
        return means, row_deviations(items, means) if self.prediction == "zscore" else np.ones(len(means))

    def _compared(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.int64]:
        return items

    def _score_ratings(self, query: Query, rows: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
        targets, first = np.unique(items, return_index=True)
        return self._ratings(query, targets, np.append(first, len(items)), rows)

    def _ratings(
        self, query: Query, targets: NDArray[np.int64], pair_indptr: NDArray[np.int64], pair_row: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Predicted ratings of (target item, query row) pairs; item -1 falls back on the user's own level."""
        ratings, (means, spread) = self._matrix(query.history), self._levels
        _, user_base = baselines(ratings, self.mean_, self.item_base_)
        given = ratings.copy()
        if self.prediction in ("centered", "zscore"):
            given.data = (given.data - means[given.indices]) / spread[given.indices]
        if self.prediction == "baseline":
            rows = np.repeat(np.arange(len(query)), np.diff(given.indptr))
            given.data = given.data - self.mean_ - user_base[rows] - self.item_base_[given.indices]
        # Targets are compared with what the query's users rated, and with nothing else.
        rated = np.unique(given.indices)
        place = np.full(len(self.items_) + 1, -1)
        place[rated] = np.arange(len(rated))
        parts = predict_pairs(
            self._rows[np.maximum(targets, 0)],
            place[targets],
            Rows.of(self._rows[rated]),
            pair_indptr,
            pair_row,
            given[:, rated],
            self.n_neighbors,
            self.min_k,
            self._measure(),
            self.n_jobs,
            opposite=self.negative_neighbors,
        )
        target = np.repeat(targets, np.diff(pair_indptr))
        return self._assembled(parts, target, user_base[pair_row], means[target], spread[target])

    def _item_similarity(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._similarities(self._rows[items], Rows.of(self._rows))
