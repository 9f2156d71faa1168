"""User-based neighbors: what users like this one gave to the item.

Resnick et al., "GroupLens: An Open Architecture for Collaborative Filtering of Netnews", CSCW 1994.
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


class UserKNN(NeighborRecommender):
    """Ratings: a weighted mean over the nearest users that rated the item. Implicit: a weighted count over the nearest users.

    Nothing is kept but the interactions: a user's similarities are made when asked for, from a history, so anyone
    with one is served.
    """

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        self._fit_form(data)

    @cached_property
    def _users(self) -> Any:
        """Users x items of the training data. This and what follows from it is made once, and not saved."""
        return self._matrix(self.history_)

    @cached_property
    def _rows(self) -> Rows:
        """All users as they are compared."""
        return Rows.of(self._user_rows(self._users))

    @cached_property
    def _given(self) -> Any:
        """What each item's users gave it, (I, U), less what was to be expected of them."""
        matrix = self._users
        given = matrix.T.tocsr()
        if self.prediction in ("centered", "zscore"):
            means = row_means(matrix, self.mean_)
            spread = row_deviations(matrix, means) if self.prediction == "zscore" else np.ones(len(means))
            given.data = (given.data - means[given.indices]) / spread[given.indices]
        if self.prediction == "baseline":
            _, base = baselines(matrix, self.mean_, self.item_base_)
            item = np.repeat(np.arange(given.shape[0]), np.diff(given.indptr))
            given.data = given.data - self.mean_ - base[given.indices] - self.item_base_[item]
        return given

    def _user_rows(self, matrix: Any) -> Any:
        """Users x items as users are compared."""
        if not self.explicit_:
            return weigh(matrix, self.item_counts_, len(self.users_), self.weighting)
        own_mean = self.similarity in ("pearson_mean", "adjusted_cosine")
        return centered(matrix, row_means(matrix, self.mean_)) if own_mean else matrix

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        n_items = len(self.items_)
        if self.explicit_:
            scores = np.empty((len(query), n_items), np.float32)
            step = max(1, PAIR_BLOCK // n_items)
            for start in range(0, len(query), step):
                part = query[start : start + step]
                every = np.tile(np.arange(n_items), len(part))
                found = self._ratings(part, np.arange(len(part) + 1) * n_items, every)
                scores[start : start + step] = found.reshape(len(part), n_items)
            return scores
        own = self._user_rows(self._matrix(query.history))
        # One more than asked for, since the first may be the user.
        near, values = top_k_similar(
            own, self._rows, self.n_neighbors + 1, self._measure(), exclude_self=False, n_jobs=self.n_jobs
        )
        values[(near == query.users[:, None]) | (near < 0)] = 0
        spare = np.cumsum(values > 0, axis=1) > self.n_neighbors
        values[spare] = 0
        row, place = np.nonzero(values)
        similar = sp.csr_matrix((values[row, place], (row, near[row, place])), shape=(len(query), len(self.users_)))
        return np.asarray((similar @ self._users).todense(), np.float32)

    def _compared(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.int64]:
        return users

    def _score_ratings(self, query: Query, rows: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._ratings(query, np.append(0, np.cumsum(np.bincount(rows, minlength=len(query)))), items)

    def _ratings(
        self, query: Query, pair_indptr: NDArray[np.int64], pair_item: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Predicted ratings of (query row, item) pairs; item -1 falls back on the user's own level."""
        asked = self._matrix(query.history)
        means = row_means(asked, self.mean_)
        spread = row_deviations(asked, means) if self.prediction == "zscore" else np.ones(len(means))
        _, base = baselines(asked, self.mean_, self.item_base_)
        parts = predict_pairs(
            self._user_rows(asked),
            query.users,
            self._rows,
            pair_indptr,
            np.maximum(pair_item, 0),
            self._given,
            self.n_neighbors,
            self.min_k,
            self._measure(),
            self.n_jobs,
            opposite=self.negative_neighbors,
        )
        row = np.repeat(np.arange(len(query)), np.diff(pair_indptr))
        return self._assembled(parts, pair_item, base[row], means[row], spread[row])

    def _user_similarity(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._similarities(self._user_rows(self._users[users]), self._rows)
