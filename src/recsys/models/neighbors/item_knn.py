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
from recsys.item_weights import as_dense, check_square
from recsys.kernels.history import rank_history, score_history, score_history_pairs
from recsys.kernels.measures import Rows
from recsys.kernels.similarity import predict_pairs, similarity_table, top_k_similar, turned
from recsys.kernels.topk import Lists
from recsys.lists import Seen, block_rows
from recsys.models.neighbors.knn import PAIR_BLOCK, NeighborRecommender
from recsys.models.neighbors.levels import centered, row_means, weigh, with_data


class ItemKNN(NeighborRecommender):
    """Ratings: a weighted mean over the user's items most similar to the target. Implicit: X S, S the items' top neighbors.

    The one to take of the two where lists are to be fast and to explain themselves, and where items have more
    interactions than users: similarities of items are steadier then, and newcomers are served from their first item on.
    Of the forms for ratings the most accurate on MovieLens 100K is `similarity="pearson_baseline"`, `shrinkage=100`,
    `prediction="baseline"`, `baseline="als"`.

    S_ij is the similarity of i in the history to the target j; only "asymmetric" and "tversky" tell the two apart. The
    implicit form keeps `n_neighbors` of them an item, in `weights_` (I, I), whose column j holds the neighbors of j: a
    fit takes the sum over users of their items squared, and a few numbers an item of memory for each thread. The rating
    form keeps none: similarities of a target are made when it is scored, so the nearest neighbors are exact among the
    items that the user has rated.

    `explain` gives what each item of the history adds: to an implicit score S_ij; to a rating s x / sum |s|, which
    together move it off the level that `prediction` says. `partial_fit` gives what a fit on all data gives. It costs
    the columns of S that new interactions can reach; with `weighting`, where every similarity changes, as much as a
    fit; for ratings nothing but reading them.
    """

    weights_: Any

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        if not self.explicit_:
            self._learn()

    def _partial_fit(self, data: Dataset) -> None:
        super()._partial_fit(data)
        # Rare users weigh more by how many items there are, so with weights every similarity changes.
        if not self.explicit_ and (self.weighting != "none" or self.learned_with_ != self.get_params()):
            self._learn()
        elif not self.explicit_:
            self._relearn(np.unique(self.items_.encode(data.items.ids)))

    def _learn(self) -> None:
        """Set S, column j of which holds the neighbors of target j: a score sums over what the target is like."""
        self.weights_ = self._columns(np.arange(len(self.items_)))
        self.learned_with_ = self.get_params()

    def _columns(self, targets: NDArray[np.int64]) -> Any:
        """The columns of S that belong to some targets, CSR (I, T)."""
        rows = self._rows if len(targets) == self._rows.shape[0] else self._rows[targets]
        # Rows of the kernel are targets, so the measure is read from the other side.
        k = min(self.n_neighbors, len(self.items_))
        near, values = top_k_similar(rows, self._by_user, k, self._measure().turned(), own=targets, n_jobs=self.n_jobs)
        values *= self._popularity()[targets, None]
        return turned(near, values, len(self.items_))

    def _relearn(self, changed: NDArray[np.int64]) -> None:
        """Bring S up to date after the users of some items have changed: only columns that this can reach are made anew.

        Those are the columns of these items, those that hold one of them, and those that one of them is now near enough
        to enter.
        """
        n, old = len(self.items_), self.weights_.tocoo()
        stale = np.zeros(n, bool)
        stale[changed] = True
        stale[old.col[stale[old.row]]] = True
        least = np.full(n, np.inf, np.float32)
        np.minimum.at(least, old.col, old.data)
        least[np.bincount(old.col, minlength=n) < self.n_neighbors] = 0
        # The two sides of a pair may round differently.
        least *= 1 - 1e-6
        for start in range(0, len(changed), block_rows(n)):
            rows = self._rows[changed[start : start + block_rows(n)]]
            table = self._popularity() * similarity_table(rows, self._by_user, self._measure(), n_jobs=self.n_jobs)
            stale |= ((table > 0) & (table >= least)).any(0)
        targets, kept = np.flatnonzero(stale), ~stale[old.col]
        fresh = self._columns(targets).tocoo()
        parts = ((old.data[kept], old.row[kept], old.col[kept]), (fresh.data, fresh.row, targets[fresh.col]))
        data, row, col = (np.concatenate(pair) for pair in zip(*parts, strict=True))
        self.weights_ = sp.csr_matrix((data, (row, col)), shape=(n, n))

    def _restore(self, fitted: dict[str, Any]) -> None:
        if "weights_" in fitted:
            check_square(fitted["weights_"], len(fitted["items_"]))
        super()._restore(fitted)

    # -- items as they are compared ----------------------------------------------------------------------------------

    @cached_property
    def _rows(self) -> Any:
        """Items x users as items are compared."""
        matrix = self._seen
        if not self.explicit_:
            return weigh(matrix.T.tocsr(), np.diff(matrix.indptr), len(self.items_), self.weighting)
        if self.similarity == "adjusted_cosine":
            return centered(matrix, row_means(matrix, self.mean_)).T.tocsr()
        if self.similarity == "pearson_baseline":
            return self._beyond_baselines(matrix).T.tocsr()
        rows = matrix.T.tocsr()
        return centered(rows, row_means(rows, self.mean_)) if self.similarity == "pearson_mean" else rows

    @cached_property
    def _by_user(self) -> Rows:
        return Rows.of(self._rows)

    def _item_similarity(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        table = similarity_table(self._rows[items], self._by_user, self._measure(), n_jobs=self.n_jobs)
        return np.maximum(table, 0)

    # -- scores ------------------------------------------------------------------------------------------------------

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        n_items = len(self.items_)
        if not self.explicit_:
            return score_history(query.history.matrix(n_items), self.weights_, self.n_jobs)
        scores = np.empty((n_items, len(query)), np.float32)
        step = max(1, PAIR_BLOCK // max(1, len(query)))
        for start in range(0, n_items, step):
            targets = np.arange(start, min(start + step, n_items))
            every = np.tile(np.arange(len(query)), len(targets))
            found = self._ratings(query, targets, np.arange(len(targets) + 1) * len(query), every)
            scores[targets] = found.reshape(len(targets), -1)
        return scores.T.copy()

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        _, first, row = np.unique(query.users, return_index=True, return_inverse=True)
        given = query.history[first].matrix(len(self.items_))
        return score_history_pairs(given, self.weights_, row, items, self.n_jobs)

    def _top_k(self, query: Query, k: int, allowed: NDArray[np.int64] | None, seen: Seen | None) -> Lists:
        if self.explicit_:
            return super()._top_k(query, k, allowed, seen)
        return rank_history(query.history.matrix(len(self.items_)), self.weights_, k, allowed, seen, self.n_jobs)

    def _compared(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.int64]:
        return items

    def _score_ratings(self, query: Query, rows: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
        targets, first = np.unique(items, return_index=True)
        return self._ratings(query, targets, np.append(first, len(items)), rows)

    @cached_property
    def _item_levels(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self._levels(self._seen.T.tocsr())

    def _given(self, ratings: Any) -> Any:
        """Users' ratings (n, I) less what was to be expected of the items, or of both."""
        if self.prediction == "baseline":
            return self._beyond_baselines(ratings)
        if self.prediction == "raw":
            return ratings
        means, spread = self._item_levels
        return with_data(ratings, (ratings.data - means[ratings.indices]) / spread[ratings.indices])

    def _ratings(
        self, query: Query, targets: NDArray[np.int64], pair_indptr: NDArray[np.int64], pair_row: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Predicted ratings of (target item, query row) pairs; item -1 falls back on the user's own level."""
        ratings, (means, spread) = self._matrix(query.history), self._item_levels
        # Targets are compared with what the query's users rated, and with nothing else.
        rated = np.unique(ratings.indices)
        place = np.full(len(self.items_) + 1, -1)
        place[rated] = np.arange(len(rated))
        parts = predict_pairs(
            self._rows[np.maximum(targets, 0)],
            place[targets],
            Rows.of(self._rows[rated]),
            pair_indptr,
            pair_row,
            self._given(ratings)[:, rated],
            self.n_neighbors,
            self.min_k,
            self._measure(),
            self.n_jobs,
            opposite=self.negative_neighbors,
        )
        target = np.repeat(targets, np.diff(pair_indptr))
        return self._assembled(parts, target, self._user_base(ratings)[pair_row], means[target], spread[target])

    def _explain(self, query: Query, item: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if not self.explicit_:
            codes = query.history.matrix(len(self.items_)).indices.astype(np.int64)
            return codes, as_dense(self.weights_[codes][:, [item]])[:, 0]
        ratings = self._matrix(query.history)
        codes = ratings.indices.astype(np.int64)
        similarity = similarity_table(self._rows[[item]], Rows.of(self._rows[codes]), self._measure())[0]
        similarity[codes == item] = 0
        shares = self._shares(similarity, self._given(ratings).data) * self._item_levels[1][item]
        return codes, shares.astype(np.float32)
