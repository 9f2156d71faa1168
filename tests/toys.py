"""Small recommenders whose scores are known, and data for them."""

from typing import ClassVar

import numpy as np
import pandas as pd

from recsys import Dataset, Recommender
from recsys.base import Query
from recsys.factor import FactorRecommender
from recsys.params import Positive

N_USERS, N_ITEMS = 23, 17


class Sums(Recommender):
    """The score of an item is a sum over the history, with many ties: sum of (3 h + i) % 5."""

    reads_history: ClassVar[bool] = True

    step: Positive = 3.0
    """What a code of the history is multiplied with."""

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        self.weights_ = (self.step * np.arange(data.n_items)[:, None] + np.arange(data.n_items)) % 5

    def _score_items(self, query: Query) -> np.ndarray:
        return (query.history.matrix(len(self.items_)) @ self.weights_).astype(np.float32)

    def _item_similarity(self, items: np.ndarray) -> np.ndarray:
        return self.weights_[items].astype(np.float32)

    def _explain(self, query: Query, item: int) -> tuple[np.ndarray, np.ndarray]:
        return query.history.items, self.weights_[query.history.items, item]


class Vectors(FactorRecommender):
    """Vectors given by the codes, small integers, so that products are exact and tie often."""

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        rng = np.random.default_rng(0)
        self.user_factors_ = rng.integers(-2, 3, (data.n_users, 3)).astype(np.float32)
        self.item_factors_ = rng.integers(-2, 3, (data.n_items, 3)).astype(np.float32)

    def _user_vectors(self, query: Query) -> np.ndarray:
        return np.where(query.users[:, None] >= 0, self.user_factors_[query.users], 0).astype(np.float32)

    def _item_vectors(self) -> np.ndarray:
        return self.item_factors_


class ByHour(Recommender):
    """The score of an item is its code times the hour, a context: -1 where it is unknown."""

    reads_context: ClassVar[bool] = True

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        pass

    def _score_items(self, query: Query) -> np.ndarray:
        hours = np.full(len(query), -1) if query.context is None else query.context["hour"].codes
        return (hours[:, None] * np.arange(len(self.items_))).astype(np.float32)


def planted_frame() -> pd.DataFrame:
    """Five items of each user, by time; ids are 10 u and 100 + i; item 116 is nobody's."""
    rng = np.random.default_rng(3)
    rows = [(10 * u, 100 + i, t) for u in range(N_USERS) for t, i in enumerate(rng.permutation(N_ITEMS - 1)[:5])]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


def planted_data() -> Dataset:
    items = pd.DataFrame({"item_id": 100 + np.arange(N_ITEMS), "color": "red"})
    return Dataset(planted_frame(), item_features=items)


def scores_of(model: Recommender) -> np.ndarray:
    """All scores (U, I) by a loop over pairs, from the model's arrays alone."""
    if isinstance(model, Vectors):
        return np.array([[float(np.dot(u, v)) for v in model.item_factors_] for u in model.user_factors_])
    histories = [model.history_[[u]].items for u in range(len(model.users_))]
    return np.array(
        [[sum((3 * h + i) % 5 for h in history) for i in range(len(model.items_))] for history in histories]
    )
