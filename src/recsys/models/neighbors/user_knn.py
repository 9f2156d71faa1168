"""User-based neighbors: what users like this one gave to the item.

Resnick et al., "GroupLens: An Open Architecture for Collaborative Filtering of Netnews", CSCW 1994.
"""

from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.base import Query
from recsys.kernels.history import rank_history, score_history, score_history_pairs
from recsys.kernels.measures import Rows
from recsys.kernels.similarity import predict_pairs, similarity_table, top_k_similar
from recsys.kernels.topk import Lists
from recsys.lists import Seen
from recsys.models.neighbors.knn import PAIR_BLOCK, NeighborRecommender
from recsys.models.neighbors.levels import centered, row_means, weigh, with_data


class UserKNN(NeighborRecommender):
    """Ratings: a weighted mean over the nearest users that rated the item. Implicit: a weighted count over the nearest users.

    The one to take of the two where users have more interactions than items, where "people like you" is the reason to be
    shown, or where new interactions are to count at once. Nothing is kept but the interactions: a user's similarities
    are made when asked for, from a history, so anyone with one is served. A user costs the sum, over the user's items,
    of how many users each has, so popular items make lists dearer than those of `ItemKNN`; memory is a few numbers a
    user for each thread.

    `explain` spreads what each neighbor adds over the items that neighbor and user have in common: in proportion to
    their weights where the similarity is a sum over them, else evenly. `partial_fit` gives what a fit on all data gives
    and costs nothing but reading the interactions.
    """

    # -- users as they are compared ----------------------------------------------------------------------------------

    def _user_rows(self, matrix: Any) -> Any:
        """Users x items as users are compared."""
        if not self.explicit_:
            return weigh(matrix, self.item_counts_, len(self.users_), self.weighting)
        if self.similarity == "pearson_baseline":
            return self._beyond_baselines(matrix)
        own_mean = self.similarity in ("pearson_mean", "adjusted_cosine")
        return centered(matrix, row_means(matrix, self.mean_)) if own_mean else matrix

    @cached_property
    def _rows(self) -> Rows:
        """All users as they are compared."""
        return Rows.of(self._user_rows(self._seen))

    def _user_similarity(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = self._user_rows(self._seen[users])
        return np.maximum(similarity_table(rows, self._rows, self._measure(), n_jobs=self.n_jobs), 0)

    # -- scores ------------------------------------------------------------------------------------------------------

    @cached_property
    def _votes(self) -> Any:
        """Users x items of what a neighbor adds to a score where it counts fully."""
        return with_data(self._seen, self._popularity()[self._seen.indices])

    def _near_users(self, query: Query) -> Any:
        """Similarities to the nearest users, CSR (B, U) float32."""
        rows = self._user_rows(self._matrix(query.history))
        k = min(self.n_neighbors, len(self.users_))
        near, values = top_k_similar(rows, self._rows, k, self._measure(), own=query.users, n_jobs=self.n_jobs)
        kept = near >= 0
        indptr = np.append(0, np.cumsum(kept.sum(1)))
        return sp.csr_matrix((values[kept], near[kept], indptr), shape=(len(near), len(self.users_)))

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        if not self.explicit_:
            return score_history(self._near_users(query), self._votes, self.n_jobs)
        n_items = len(self.items_)
        scores = np.empty((len(query), n_items), np.float32)
        step = max(1, PAIR_BLOCK // n_items)
        for start in range(0, len(query), step):
            part = query[start : start + step]
            every = np.tile(np.arange(n_items), len(part))
            found = self._ratings(part, np.arange(len(part) + 1) * n_items, every)
            scores[start : start + step] = found.reshape(len(part), n_items)
        return scores

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        _, first, row = np.unique(query.users, return_index=True, return_inverse=True)
        return score_history_pairs(self._near_users(query[first]), self._votes, row, items, self.n_jobs)

    def _top_k(self, query: Query, k: int, allowed: NDArray[np.int64] | None, seen: Seen | None) -> Lists:
        if self.explicit_:
            return super()._top_k(query, k, allowed, seen)
        return rank_history(self._near_users(query), self._votes, k, allowed, seen, self.n_jobs)

    def _compared(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.int64]:
        return users

    def _score_ratings(self, query: Query, rows: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._ratings(query, np.append(0, np.cumsum(np.bincount(rows, minlength=len(query)))), items)

    @cached_property
    def _given(self) -> Any:
        """What each item's users gave it, (I, U), less what was to be expected of the users, or of both."""
        ratings = self._seen
        if self.prediction == "baseline":
            ratings = self._beyond_baselines(ratings)
        elif self.prediction != "raw":
            means, spread = (np.repeat(part, np.diff(ratings.indptr)) for part in self._levels(ratings))
            ratings = with_data(ratings, (ratings.data - means) / spread)
        return ratings.T.tocsr()

    def _ratings(
        self, query: Query, pair_indptr: NDArray[np.int64], pair_item: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Predicted ratings of (query row, item) pairs; item -1 falls back on the user's own level."""
        asked = self._matrix(query.history)
        means, spread = self._levels(asked)
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
        return self._assembled(parts, pair_item, self._user_base(asked)[row], means[row], spread[row])

    def _explain(self, query: Query, item: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """What each neighbor adds goes to the items that made it one: by products where those add up, else evenly."""
        matrix = self._matrix(query.history)
        own = self._user_rows(matrix)
        codes = own.indices.astype(np.int64)
        if self.explicit_:
            given = self._given[item]
            users = given.indices
            similarity = similarity_table(own, self._rows, self._measure())[0, users]
            similarity[users == query.users[0]] = 0
            shares = self._shares(similarity, given.data) * self._levels(matrix)[1]
        else:
            near = self._near_users(query)
            users, shares = near.indices, near.data * self._votes[near.indices][:, [item]].toarray()[:, 0]
        users, shares = users[shares != 0], shares[shares != 0]
        theirs = self._seen[users]
        met = with_data(theirs, np.ones(theirs.nnz))[:, codes].toarray()
        if not self.explicit_ and self._measure().of_products:
            met *= own.data * self._user_rows(theirs)[:, codes].toarray()
        return codes, (shares @ (met / met.sum(1, keepdims=True))).astype(np.float32)
