"""Models whose scores are a history times weights between items.

A model writes `_learn`, which sets `weights_` from users x items. With dense weights it is a `LinearRecommender`; with a
CSR matrix an `ItemWeightsRecommender`, which ranks without a score matrix. A model of another kind that keeps such a
matrix calls `recsys.kernels.history` itself: `rank_history` in `_top_k`, `score_history` in `_score_items`,
`score_history_pairs` in `_score_pairs`.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.base import Query, Recommender
from recsys.data import Dataset, Histories
from recsys.kernels.history import rank_history, score_history, score_history_pairs
from recsys.kernels.topk import Lists
from recsys.lists import Seen


class LinearRecommender(Recommender):
    """score(u, j) = sum over the history of x_ui W_ij: anyone with a history is served, and every score explains itself.

    Items like i are those that i alone leads to, by row i of W. `partial_fit` learns anew from all histories, so it
    gives what a fit on all data gives, and costs as much.
    """

    reads_history: ClassVar[bool] = True

    use_weights: bool = True
    """Whether x is the sum of the data's weights where it has a weight column; otherwise it is 1."""

    weights_: Any

    @abstractmethod
    def _learn(self, x: Any) -> None:
        """Set `weights_` (I, I), whose column j holds what pulls item j, from users x items, CSR (U, I) float32."""

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        self._learn(self._matrix(self.history_))

    def _partial_fit(self, data: Dataset) -> None:
        self._learn(self._matrix(self.history_))

    def _matrix(self, history: Histories) -> Any:
        """What histories are to the model, CSR (n, I) float32."""
        weighted = self.use_weights and history.weights is not None
        return history.matrix(len(self.items_), "weight" if weighted else "ones")

    def _given(self, query: Query) -> Any:
        """What a query's histories are when they are scored, CSR (B, I) float32."""
        return self._matrix(query.history)

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        return np.asarray(self._given(query) @ self.weights_)

    def _item_similarity(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        return as_dense(self.weights_[items])

    def _explain(self, query: Query, item: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        given = self._given(query)
        pull = as_dense(self.weights_[:, [item]])[given.indices, 0]
        return given.indices.astype(np.int64), given.data * pull


class ItemWeightsRecommender(LinearRecommender):
    """A linear model whose weights are a CSR matrix with sorted indices: its lists are made without a score matrix."""

    def _restore(self, fitted: dict[str, Any]) -> None:
        check_square(fitted["weights_"], len(fitted["items_"]))
        super()._restore(fitted)

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        return score_history(self._given(query), self.weights_, self._threads())

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        _, first, row = np.unique(query.users, return_index=True, return_inverse=True)
        given = self._given(query[first])
        return score_history_pairs(given, self.weights_, row, items, self._threads())

    def _top_k(self, query: Query, k: int, allowed: NDArray[np.int64] | None, seen: Seen | None) -> Lists:
        return rank_history(self._given(query), self.weights_, k, allowed, seen, self._threads())


def check_square(weights: Any, n_items: int) -> None:
    """Refuse saved weights of another shape than (I, I): kernels would read beyond an end."""
    if weights.shape != (n_items, n_items):
        raise ValueError(f"weights_ {weights.shape} are not between the {n_items} items")


def as_dense(matrix: Any) -> NDArray[np.float32]:
    """A sparse or dense matrix as an array of its own."""
    return np.array(matrix.toarray() if sp.issparse(matrix) else matrix, np.float32)


def row_lists(near: NDArray[np.int64], values: NDArray[np.float32]) -> Any:
    """Weights, CSR (I, I) with sorted indices: row i holds values[i, n] in column near[i, n], both (I, K), where above 0."""
    kept = (near >= 0) & (values > 0)
    indptr = np.append(0, np.cumsum(kept.sum(1)))
    weights: Any = sp.csr_matrix((values[kept], near[kept], indptr), shape=(len(near), len(near)))
    weights.sort_indices()
    return weights
