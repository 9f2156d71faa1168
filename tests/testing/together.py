"""A small recommender of a user's own that keeps every contract; the broken ones are it, but for one thing."""

from typing import ClassVar

import numpy as np

from recsys import Recommender
from recsys.base import Query
from recsys.data import Dataset
from recsys.params import Positive


class Together(Recommender):
    """An item's score is how often its users had the items of the history too."""

    reads_history: ClassVar[bool] = True

    smoothing: Positive = 1.0
    """Users that an item has in addition."""

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        matrix = data.to_csr()
        together = (matrix.T @ matrix).toarray()
        np.fill_diagonal(together, 0)
        self.weights_ = (together / (self.item_counts_ + self.smoothing)).astype(np.float32)

    def _score_items(self, query: Query) -> np.ndarray:
        return query.history.matrix(len(self.items_)) @ self.weights_

    def _item_similarity(self, items: np.ndarray) -> np.ndarray:
        return self.weights_[items].copy()

    def _explain(self, query: Query, item: int) -> tuple[np.ndarray, np.ndarray]:
        seen = np.unique(query.history.items)
        return seen, self.weights_[seen, item]


class Growing(Recommender):
    """Popular items, of a catalog that grows: a model with `partial_fit`."""

    personal: ClassVar[bool] = False

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        self.scores_ = self.item_counts_.astype(np.float32)

    def _score_items(self, query: Query) -> np.ndarray:
        return np.repeat(self.scores_[None], len(query), axis=0)

    def _partial_fit(self, data: Dataset) -> None:
        self.scores_ = self.item_counts_.astype(np.float32)
