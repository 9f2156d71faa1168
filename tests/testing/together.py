"""A small recommender of a user's own that keeps every contract; the broken ones are it, but for one thing."""

from typing import ClassVar

import numpy as np

from recsys import Recommender
from recsys.base import Query
from recsys.data import Dataset, Histories, Vocabulary
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
        self.users_, self.items_ = grown(self.users_, data.users), grown(self.items_, data.items)
        new_users = self.users_.encode(data.users.ids)[data.user_codes]
        new_items = self.items_.encode(data.items.ids)[data.item_codes]
        users = np.append(np.repeat(np.arange(len(self.history_)), self.history_.lengths), new_users)
        items = np.append(self.history_.items, new_items)
        self.history_ = Histories.from_rows(users, items, len(self.users_))
        self.item_counts_ = np.bincount(self.history_.matrix(len(self.items_)).indices, minlength=len(self.items_))
        self.scores_ = self.item_counts_.astype(np.float32)


def grown(known: Vocabulary, more: Vocabulary) -> Vocabulary:
    """The known ids, each with its code, and after them the new ones."""
    return Vocabulary(np.append(known.ids, np.setdiff1d(more.ids, known.ids)))
