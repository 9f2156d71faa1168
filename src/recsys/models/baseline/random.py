"""Random scores."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from recsys.base import Query, Recommender
from recsys.data import Dataset
from recsys.params import NonNegativeInt


class Random(Recommender):
    """A score in [0, 1) that depends on seed, user and item alone: `predict` agrees with `recommend` and both repeat."""

    personal: ClassVar[bool] = False

    random_state: NonNegativeInt = 0
    """Seed."""

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        self.n_items_ = data.n_items

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        return self._draw(query.users[:, None], np.arange(self.n_items_))

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.where(items >= 0, self._draw(query.users, items), 0).astype(np.float32)

    def _draw(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of pairs, of shapes that broadcast."""
        keys = users.astype(np.uint64) * np.uint64(self.n_items_) + items.astype(np.uint64)
        keys += np.uint64((self.random_state * 0x9E3779B97F4A7C15) % 2**64)
        # The finalizer of SplitMix64: every bit of the key moves every bit of the score.
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        keys ^= keys >> np.uint64(31)
        return ((keys >> np.uint64(40)).astype(np.float32)) * np.float32(2**-24)
